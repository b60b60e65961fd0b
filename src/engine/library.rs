//! Finding ONNX Runtime's shared library, and asking it for its version before anything relies on it.
//!
//! The one place of the engines with `unsafe`: a library's version can only be had by calling into it.
#![expect(
    unsafe_code,
    reason = "the version check calls OrtGetApiBase of a library found at run time"
)]

use std::env;
use std::ffi::{CStr, c_char};
use std::fs;
use std::path::{Path, PathBuf};

use crate::engine::InferenceError;

/// Oldest ONNX Runtime 1.x that has the API this program was built for.
pub(super) const OLDEST_MINOR: u32 = 24;
/// Newest ONNX Runtime 1.x that was tried; a newer one keeps the API and is used with a note.
pub(super) const NEWEST_MINOR: u32 = 32;

/// A library file to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// The file.
    pub(super) path: PathBuf,
    /// Whether somebody named it, so that it must work.
    pub(super) named: bool,
}

/// Library files in the order to try them: the one named, else the environment's, else all that are found beside
/// the executable, in the system's places and in Python's `onnxruntime` packages.
pub(super) fn candidates(named: Option<&Path>) -> Vec<Candidate> {
    let by_environment = || {
        env::var_os("ORT_DYLIB_PATH")
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(path) = named.map(Path::to_path_buf).or_else(by_environment) {
        return vec![Candidate {
            path: resolve(&path),
            named: true,
        }];
    }
    let mut found = Vec::new();
    for folder in search_folders() {
        found.extend(libraries_in(&folder));
    }
    let mut seen = Vec::new();
    found
        .into_iter()
        .filter(|path| {
            let real = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            let first = !seen.contains(&real);
            seen.push(real);
            first
        })
        .map(|path| Candidate { path, named: false })
        .collect()
}

/// A named folder stands for the library in it.
fn resolve(path: &Path) -> PathBuf {
    if path.is_dir() {
        libraries_in(path)
            .into_iter()
            .next()
            .unwrap_or_else(|| path.join(file_name()))
    } else {
        path.to_path_buf()
    }
}

/// The library's plain file name on this system.
fn file_name() -> &'static str {
    if cfg!(windows) {
        "onnxruntime.dll"
    } else if cfg!(target_os = "macos") {
        "libonnxruntime.dylib"
    } else {
        "libonnxruntime.so"
    }
}

/// Whether `name` is the library: `libonnxruntime.so`, `libonnxruntime.so.1.24.1`, `libonnxruntime.1.24.1.dylib`,
/// but not `libonnxruntime_providers_shared.so`.
fn is_library(name: &str) -> bool {
    if cfg!(windows) {
        name.eq_ignore_ascii_case("onnxruntime.dll")
    } else if cfg!(target_os = "macos") {
        name.strip_prefix("libonnxruntime.")
            .is_some_and(|rest| rest.split('.').next_back() == Some("dylib"))
    } else {
        name == "libonnxruntime.so" || name.starts_with("libonnxruntime.so.")
    }
}

/// The libraries directly in `folder`, the newest version first and the plain name before all.
fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let mut names: Vec<(Vec<u32>, PathBuf)> = entries(folder)
        .into_iter()
        .filter(|path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(is_library)
                && path.is_file()
        })
        .map(|path| (version_in(&path), path))
        .collect();
    names.sort_by(|a, b| {
        (!a.0.is_empty(), &b.0)
            .cmp(&(!b.0.is_empty(), &a.0))
            .then_with(|| a.1.cmp(&b.1))
    });
    names.into_iter().map(|(_, path)| path).collect()
}

/// The numbers of a file's name, `[1, 24, 1]`.
fn version_in(path: &Path) -> Vec<u32> {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// A folder's entries, sorted; none if it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    paths
}

/// Folders that may hold the library, in the order to look.
fn search_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Some(beside) = env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(Path::to_path_buf))
    {
        folders.push(beside.join("lib"));
        folders.insert(0, beside);
    }
    folders.extend(
        env::var_os("LD_LIBRARY_PATH")
            .iter()
            .flat_map(env::split_paths),
    );
    folders.extend(system_folders());
    for prefix in python_prefixes() {
        folders.extend(python_packages(&prefix));
    }
    folders
}

/// Where packages and archives of ONNX Runtime put it.
fn system_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = [
        "/usr/local/lib",
        "/usr/local/lib64",
        "/usr/lib",
        "/usr/lib64",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/opt/homebrew/lib",
    ]
    .into_iter()
    .map(PathBuf::from)
    .collect();
    for unpacked in entries(Path::new("/opt")) {
        if unpacked
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("onnxruntime"))
        {
            folders.push(unpacked.join("lib"));
        }
    }
    folders
}

/// Prefixes under which Python keeps `lib/python3.N/site-packages`, the active environments first.
fn python_prefixes() -> Vec<PathBuf> {
    let folder = |name: &str| {
        env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let home = folder("HOME").or_else(|| folder("USERPROFILE"));
    let mut prefixes: Vec<PathBuf> = ["VIRTUAL_ENV", "CONDA_PREFIX"]
        .into_iter()
        .filter_map(folder)
        .collect();
    prefixes.push(PathBuf::from(".venv"));
    if let Some(home) = &home {
        prefixes.push(home.join(".local"));
    }
    let pyenv = folder("PYENV_ROOT").or_else(|| home.map(|home| home.join(".pyenv")));
    if let Some(pyenv) = pyenv {
        prefixes.extend(entries(&pyenv.join("versions")));
    }
    // The interpreters on the path: `PREFIX/bin/python3`.
    for bin in env::var_os("PATH").iter().flat_map(env::split_paths) {
        if bin.join("python3").is_file()
            && let Ok(real) = fs::canonicalize(bin.join("python3"))
            && let Some(prefix) = real.parent().and_then(Path::parent)
        {
            prefixes.extend(bin.parent().map(Path::to_path_buf));
            prefixes.push(prefix.to_path_buf());
        }
    }
    prefixes.extend(["/usr/local", "/usr"].map(PathBuf::from));
    prefixes
}

/// The `onnxruntime` packages below one prefix.
fn python_packages(prefix: &Path) -> Vec<PathBuf> {
    let package = Path::new("onnxruntime").join("capi");
    let mut folders = vec![prefix.join("Lib").join("site-packages").join(&package)];
    for lib in ["lib", "lib64"] {
        for python in entries(&prefix.join(lib)) {
            let name = python.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("python3") {
                folders.push(python.join("site-packages").join(&package));
                folders.push(python.join("dist-packages").join(&package));
            }
        }
    }
    folders
}

/// The start of ONNX Runtime's `OrtApiBase`, the one structure that every version shares.
#[repr(C)]
struct ApiBase {
    get_api: unsafe extern "system" fn(u32) -> *const std::ffi::c_void,
    get_version_string: unsafe extern "system" fn() -> *const c_char,
}

/// Checks that `path` is an ONNX Runtime this program can use and gives its version.
pub(super) fn check(path: &Path) -> Result<String, InferenceError> {
    let refuse = |reason: String| InferenceError::Library {
        path: path.to_path_buf(),
        reason,
    };
    if !path.exists() {
        return Err(refuse("no such file".to_owned()));
    }
    let version = read_version(path).map_err(refuse)?;
    let mut numbers = version.split('.').map(str::parse::<u32>);
    let (Some(Ok(1)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return Err(refuse(format!(
            "it calls itself version {version:?}; 1.{OLDEST_MINOR} to 1.{NEWEST_MINOR} are supported"
        )));
    };
    if minor < OLDEST_MINOR {
        return Err(refuse(format!(
            "version {version} is too old; 1.{OLDEST_MINOR} or newer is needed (pip install --upgrade onnxruntime)"
        )));
    }
    Ok(version)
}

/// Whether a version is newer than those that were tried.
pub(super) fn is_untried(version: &str) -> bool {
    version
        .split('.')
        .nth(1)
        .and_then(|minor| minor.parse::<u32>().ok())
        .is_some_and(|minor| minor > NEWEST_MINOR)
}

/// Loads the library and asks it for its version.
fn read_version(path: &Path) -> Result<String, String> {
    // SAFETY: loading runs the library's initialisers, as any use of it does; the operator, or the package manager
    // that put it into one of the searched places, vouches for it.
    let library = unsafe { libloading::Library::new(path) }.map_err(|e| reason(&e))?;
    // SAFETY: `OrtGetApiBase` has had this signature since the first release; a library without it is refused.
    let get_base: libloading::Symbol<'_, unsafe extern "system" fn() -> *const ApiBase> =
        unsafe { library.get(b"OrtGetApiBase\0") }
            .map_err(|_| "it is not ONNX Runtime: it has no OrtGetApiBase".to_owned())?;
    // SAFETY: the signature is as above, and the function takes nothing.
    let base = unsafe { get_base() };
    // SAFETY: the pointer is null or points to the library's static `OrtApiBase`, which lives as long as `library`.
    let Some(base) = (unsafe { base.as_ref() }) else {
        return Err("its OrtGetApiBase returned nothing".to_owned());
    };
    // SAFETY: the function takes nothing and returns null or a static string.
    let text = unsafe { (base.get_version_string)() };
    if text.is_null() {
        return Err("it does not tell its version".to_owned());
    }
    // SAFETY: not null, and a static C string of the library, which is still loaded.
    let version = unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned();
    // SAFETY: asks for an API by number; null says that the library does not have it.
    let api = unsafe { (base.get_api)(OLDEST_MINOR) };
    let usable = !api.is_null();
    let old = version
        .split('.')
        .nth(1)
        .and_then(|minor| minor.parse::<u32>().ok())
        .is_some_and(|minor| minor < OLDEST_MINOR);
    if !usable && !old {
        return Err(format!(
            "version {version} does not offer API {OLDEST_MINOR}"
        ));
    }
    Ok(version)
}

/// The loader's message without the wrapping around it.
fn reason(error: &libloading::Error) -> String {
    use std::error::Error as _;
    error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_told_from_its_neighbours() {
        if cfg!(target_os = "linux") {
            assert!(is_library("libonnxruntime.so"));
            assert!(is_library("libonnxruntime.so.1.24.1"));
            assert!(!is_library("libonnxruntime_providers_shared.so"));
            assert!(!is_library("onnxruntime_pybind11_state.so"));
        }
    }

    #[test]
    fn a_folder_stands_for_the_plain_or_the_newest_library_in_it() {
        if !cfg!(target_os = "linux") {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        for name in ["libonnxruntime.so.1.9.0", "libonnxruntime.so.1.24.1"] {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        assert_eq!(
            resolve(folder.path()),
            folder.path().join("libonnxruntime.so.1.24.1")
        );
        fs::write(folder.path().join("libonnxruntime.so"), b"").unwrap();
        assert_eq!(
            resolve(folder.path()),
            folder.path().join("libonnxruntime.so")
        );
    }

    #[test]
    fn a_python_package_is_found_below_its_prefix() {
        let prefix = tempfile::tempdir().unwrap();
        let package = prefix
            .path()
            .join("lib/python3.12/site-packages/onnxruntime/capi");
        fs::create_dir_all(&package).unwrap();
        assert!(python_packages(prefix.path()).contains(&package));
    }

    #[test]
    fn a_file_that_is_no_library_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libonnxruntime.so");
        fs::write(&path, b"not a library").unwrap();
        let error = check(&path).unwrap_err().to_string();
        assert!(error.contains("libonnxruntime.so"), "{error}");
    }

    #[test]
    fn a_missing_library_is_said_to_be_missing() {
        let error = check(Path::new("nowhere/libonnxruntime.so"))
            .unwrap_err()
            .to_string();
        assert!(error.ends_with("no such file"), "{error}");
    }

    #[test]
    fn another_library_is_refused() {
        // The C library is there on every Linux and is not ONNX Runtime.
        let Some(other) = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/libc.so.6"]
            .into_iter()
            .find(|path| Path::new(path).exists())
        else {
            eprintln!("skipped: no C library in the usual places");
            return;
        };
        let error = check(Path::new(other)).unwrap_err().to_string();
        assert!(error.contains("it is not ONNX Runtime"), "{error}");
    }

    #[test]
    fn only_versions_after_the_tried_ones_are_untried() {
        assert!(!is_untried("1.24.0"));
        assert!(!is_untried("1.32.5"));
        assert!(is_untried("1.33.0"));
    }
}
