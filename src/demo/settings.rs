//! The configuration that goes with the demo avatars: the repository's own `config.yaml`, pointed at their folder.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::{Files, Who, WriteError};
use crate::config::{Config, ConfigErrors};

/// The documented example, whose models are the demo's in `./models`.
const EXAMPLE: &str = include_str!("../../config.yaml");
/// Where the example's models are.
const EXAMPLE_FOLDER: &str = "./models/";

/// The text of a configuration for the avatars in `folder`, which relative paths in it resolve to.
///
/// # Panics
/// Never: any string can be written in JSON, which is YAML.
#[must_use]
pub fn config_text(folder: &Path) -> String {
    if folder == Path::new("models") || folder == Path::new("./models") {
        return EXAMPLE.to_owned();
    }
    let place = |line: &str| match line.split_once(EXAMPLE_FOLDER) {
        Some((key, file)) if key.ends_with(": ") => {
            let path = folder.join(file).display().to_string();
            let path = serde_json::to_string(&path).expect("a string is JSON");
            format!("{key}{path}\n")
        }
        _ => format!("{line}\n"),
    };
    EXAMPLE.lines().map(place).collect()
}

/// Where the demo's configuration came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// There was none: it was written.
    Written,
    /// The file that was there lists the demo avatars.
    Found,
    /// The file that was there is about other avatars, and was neither used nor touched.
    BuiltIn,
}

/// The configuration to run the avatars in `folder` with: the file at `path` if it lists them, a new file there if
/// there is none.
///
/// # Errors
/// If the file that is there is not valid.
pub fn config(path: &Path, folder: &Path) -> Result<(Config, Origin), SettingsError> {
    if path.exists() {
        let found = Config::load(path)?;
        if lists_all(&found, folder) {
            return Ok((found, Origin::Found));
        }
        let config = Config::parse(&config_text(&absolute(folder)?), path)?;
        return Ok((config, Origin::BuiltIn));
    }
    let beside = path.parent().is_none_or(|parent| parent == Path::new(""));
    let text = if beside {
        config_text(folder)
    } else {
        config_text(&absolute(folder)?)
    };
    let config = Config::parse(&text, path)?;
    write_new(path, &text)?;
    Ok((config, Origin::Written))
}

/// Why there is no configuration for the demo.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file that is there.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// A new one cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

fn lists_all(config: &Config, folder: &Path) -> bool {
    let same = |a: &Path, b: &Path| match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    };
    Who::ALL.iter().all(|who| {
        let files = Files::of(folder, *who);
        config
            .model(who.name())
            .is_some_and(|model| same(&model.background_dir, &files.frames))
    })
}

fn absolute(folder: &Path) -> Result<PathBuf, WriteError> {
    std::path::absolute(folder).map_err(|source| WriteError::Io {
        path: folder.to_owned(),
        source,
    })
}

/// Writes `text` to `path` whole; never over a file that has appeared there meanwhile.
fn write_new(path: &Path, text: &str) -> Result<(), WriteError> {
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(parent)?;
        let mut file = tempfile::NamedTempFile::new_in(parent)?;
        file.write_all(text.as_bytes())?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            // Temporary files are private; this one is meant to be read.
            file.as_file()
                .set_permissions(std::fs::Permissions::from_mode(0o644))?;
        }
        file.persist_noclobber(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|source| WriteError::Io {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_folder_can_be_named() {
        for folder in ["models", "./models", "/srv/avatars", "it's \"odd\": #1/ü"] {
            let text = config_text(Path::new(folder));
            let config = Config::parse(&text, Path::new("config.yaml")).unwrap();
            let ids: Vec<&str> = config
                .models
                .iter()
                .map(|model| model.id.as_str())
                .collect();
            assert_eq!(ids, Who::ALL.map(Who::name));
            for (model, who) in config.models.iter().zip(Who::ALL) {
                let files = Files::of(Path::new(folder), who);
                let clean = |path: &Path| {
                    let parts = path.components();
                    parts
                        .filter(|part| *part != std::path::Component::CurDir)
                        .collect::<PathBuf>()
                };
                assert_eq!(clean(&model.model_path), clean(&files.generator));
                assert_eq!(
                    model.audio_encoder_path.as_deref().map(clean),
                    Some(clean(&files.audio_encoder))
                );
                assert_eq!(clean(&model.background_dir), clean(&files.frames));
                assert_eq!(clean(&model.crop_rects_path), clean(&files.crop_rects));
            }
        }
    }

    #[test]
    fn a_configuration_is_written_once_and_a_foreign_one_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let (path, folder) = (
            place.path().join("etc/config.yaml"),
            place.path().join("avatars"),
        );
        for who in Who::ALL {
            std::fs::create_dir_all(Files::of(&folder, who).frames).unwrap();
        }
        let (written, origin) = config(&path, &folder).unwrap();
        assert_eq!(origin, Origin::Written);
        assert_eq!(
            written.models[0].background_dir,
            Files::of(&folder, Who::Sanders).frames
        );
        assert_eq!(config(&path, &folder).unwrap(), (written, Origin::Found));
        let foreign =
            "models: {ann: {model_path: a.onnx, background_dir: a, crop_rects_path: a.json}}\n";
        std::fs::write(&path, foreign).unwrap();
        let (built_in, origin) = config(&path, &folder).unwrap();
        assert_eq!(origin, Origin::BuiltIn);
        assert_eq!(
            built_in.models[2].background_dir,
            Files::of(&folder, Who::Jane).frames
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), foreign);
        std::fs::write(&path, "models: 7\n").unwrap();
        assert!(matches!(
            config(&path, &folder),
            Err(SettingsError::Config(_))
        ));
    }
}
