//! Which network a checkpoint is that is not the wanted one: in the words of who trained it, by its weights' shapes.

use super::Role;
use crate::import::checkpoint::Weights;

const ONLY_AVE: &str = "only 328-pixel avatars with `ave` audio are served: train it with SyncTalk_2D's default, --asr ave (unet_328)";

/// What `weights` are, and what to do; `None` if they are nothing that is known.
pub(super) fn recognise(weights: &Weights, role: Role) -> Option<(&'static str, &'static str)> {
    let has = |start: &str| weights.keys().any(|key| key.starts_with(start));
    let is_generator = has("audio_model.") && has("outc.");
    if has("face_encoder.") || has("face_encoder_") {
        return Some((
            "a SyncNet, which only helps in training",
            "the generator is checkpoint/NAME/N.pth, the audio encoder audio_visual_encoder.pth",
        ));
    }
    match role {
        Role::AudioEncoder if is_generator => Some((
            "a generator",
            "it belongs to --checkpoint; --audio-encoder takes audio_visual_encoder.pth",
        )),
        Role::Generator if has("0.conv_block.") || has("audio_encoder.0.conv_block.") => Some((
            "the audio encoder",
            "it belongs to --audio-encoder; --checkpoint takes checkpoint/NAME/N.pth",
        )),
        Role::Generator if is_generator => generator(weights, has("down5.")),
        _ => None,
    }
}

/// Which of the generators with the same names.
fn generator(weights: &Weights, has_five_levels: bool) -> Option<(&'static str, &'static str)> {
    let heard = weights
        .get("audio_model.conv1.conv.0.weight")
        .and_then(|tensor| tensor.shape().get(1).copied());
    let family = match (heard, has_five_levels) {
        (Some(128 | 256), true) => "a generator for wenet audio",
        (Some(128), false) => "a generator for 160 pixels and wenet audio",
        (Some(16), false) => "a generator for 160 pixels and hubert audio",
        (Some(16), true) => "a generator for hubert audio",
        (_, false) => "a generator for 160 pixels",
        _ => return None,
    };
    Some((family, ONLY_AVE))
}

/// Which network takes inputs of such shapes, without the batch, that `role` does not.
pub(crate) fn family_of_inputs(
    role: Role,
    takes: impl Fn(&[i64]) -> bool,
) -> Option<(&'static str, &'static str)> {
    let picture = [320_i64, 160]
        .into_iter()
        .find(|&side| takes(&[6, side, side]));
    match role {
        Role::AudioEncoder if picture.is_some() => Some((
            "a generator",
            "it belongs to --checkpoint; --audio-encoder takes audio_encoder.onnx or audio_visual_encoder.pth",
        )),
        Role::AudioEncoder => None,
        Role::Generator if takes(&[1, 80, 16]) => Some((
            "the audio encoder",
            "it belongs to --audio-encoder; --checkpoint takes the generator",
        )),
        Role::Generator => {
            let wenet = takes(&[256, 16, 32]) || takes(&[128, 16, 32]);
            let hubert = takes(&[32, 32, 32]) || takes(&[16, 32, 32]);
            let family = match picture? {
                160 if wenet => "a generator for 160 pixels and wenet audio",
                160 if hubert => "a generator for 160 pixels and hubert audio",
                160 => "a generator for 160 pixels",
                _ if wenet => "a generator for wenet audio",
                _ if hubert => "a generator for hubert audio",
                _ => return None,
            };
            Some((family, ONLY_AVE))
        }
    }
}
