//! What an operator is told when a provider does not work: the last sentence of what ONNX Runtime says, and what to do.

/// The endings of shared libraries' names.
const LIBRARY: &str = ".so";

/// One sentence of `text`, which may be a page of C++ type names, with what to do about it.
pub(super) fn reason(text: &str) -> String {
    if let Some(library) = missing_library(text) {
        return format!(
            "{library} is missing: pip install 'onnxruntime-gpu[cuda,cudnn]', or add its folder to LD_LIBRARY_PATH"
        );
    }
    let advice = [
        (
            "no CUDA-capable device",
            "nvidia-smi shows which GPUs there are",
        ),
        (
            "invalid device ordinal",
            "onnx.cuda_device names a GPU that nvidia-smi does not list",
        ),
        (
            "driver version is insufficient",
            "update the NVIDIA driver, or install an ONNX Runtime for an older CUDA",
        ),
        (
            "out of memory",
            "another process holds the GPU's memory: see nvidia-smi",
        ),
    ];
    let known = advice.iter().find(|(words, _)| text.contains(words));
    match known {
        Some((words, advice)) => format!("{}; {advice}", sentence_with(text, words)),
        None => last_sentence(text),
    }
}

/// The library that the loader did not find: `libcublasLt.so.13: cannot open shared object file`.
fn missing_library(text: &str) -> Option<&str> {
    let before = text.split(": cannot open shared object file").next()?;
    let name = before
        .rsplit(|c: char| c.is_whitespace() || "/'\"".contains(c))
        .next()?;
    (before.len() < text.len() && name.contains(LIBRARY)).then_some(name)
}

fn sentence_with(text: &str, words: &str) -> String {
    let found = sentences(text).find(|sentence| sentence.contains(words));
    shortened(found.unwrap_or(words))
}

fn last_sentence(text: &str) -> String {
    shortened(sentences(text).last().unwrap_or(text))
}

fn sentences(text: &str) -> impl Iterator<Item = &str> {
    // A full stop inside a name or a number is followed by no space.
    let parts = text.split(['\n', ';']).flat_map(|line| line.split(". "));
    parts
        .map(|part| part.trim().trim_end_matches('.'))
        .filter(|part| !part.is_empty())
}

/// The end of a sentence, which says what went wrong; the beginning is where.
fn shortened(sentence: &str) -> String {
    const LEN_MAX: usize = 200;
    let from = sentence.len().saturating_sub(LEN_MAX);
    let from = (from..sentence.len())
        .find(|&at| sentence.is_char_boundary(at))
        .unwrap_or(0);
    if from == 0 {
        return sentence.to_owned();
    }
    let end = &sentence[from..];
    let word = end.find(' ').map_or(0, |space| space + 1);
    format!("… {}", &end[word..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_named_with_what_to_install() {
        let text = "/onnxruntime_src/onnxruntime/core/session/provider_bridge_ort.cc:2195 \
            onnxruntime::Provider& onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : FAIL : \
            Failed to load library /opt/venv/libonnxruntime_providers_cuda.so with error: \
            libcublasLt.so.13: cannot open shared object file: No such file or directory";
        let reason = reason(text);
        assert!(
            reason.starts_with("libcublasLt.so.13 is missing: pip install"),
            "{reason}"
        );
    }

    #[test]
    fn what_the_driver_says_comes_with_advice() {
        let text = "CUDA failure 100: no CUDA-capable device is detected ; GPU=-1 ; hostname=x ; \
            file=/onnxruntime_src/cuda_execution_provider.cc ; line=282 ; expr=cudaSetDevice(info_.device_id);";
        let reason = reason(text);
        assert_eq!(
            reason,
            "CUDA failure 100: no CUDA-capable device is detected; nvidia-smi shows which GPUs there are"
        );
    }

    #[test]
    fn of_anything_else_the_last_sentence_is_told() {
        assert_eq!(
            reason("Type names. The graph is empty."),
            "The graph is empty"
        );
        let long = format!("{} it ends badly", "std::vector<int> ".repeat(100));
        let short = reason(&long);
        assert!(
            short.len() < 210 && short.ends_with("it ends badly"),
            "{short}"
        );
        assert_eq!(
            reason("this ONNX Runtime was built without it"),
            "this ONNX Runtime was built without it"
        );
        assert_eq!(reason(""), "");
    }
}
