//! Adding a model to a file: what is there stays, byte for byte.

use std::path::Path;

use proptest::prelude::*;

use crate::config::Config;
use crate::config::add_model::{AddError, Added, add_model};

fn entry(folder: &str) -> Vec<(&'static str, String)> {
    [
        ("model_path", "generator.onnx"),
        ("background_dir", "frames"),
        ("crop_rects_path", "crop_rects.json"),
    ]
    .map(|(key, file)| (key, format!("{folder}/{file}")))
    .into_iter()
    .chain([("fps", "25".to_owned())])
    .collect()
}

fn add(text: &str, id: &str) -> Result<Added, AddError> {
    add_model(Some(text), Path::new("c.yaml"), id, &entry("./models/anna"))
}

/// The text with `anna`; what went in is still there, around one insertion.
#[track_caller]
fn added(text: &str) -> String {
    let Added::Text(edited) = add(text, "anna").unwrap() else {
        panic!("it is said to be there");
    };
    let config = Config::parse(&edited, Path::new("c.yaml")).unwrap();
    let anna = config.model("anna").unwrap();
    assert_eq!(anna.model_path, Path::new("./models/anna/generator.onnx"));
    let same = |(a, b): &(char, char)| a == b;
    let before = text.chars().zip(edited.chars()).take_while(same).count();
    let after = text
        .chars()
        .rev()
        .zip(edited.chars().rev())
        .take_while(same)
        .count();
    assert!(before + after >= text.chars().count(), "{edited}");
    edited
}

const BOB: &str = "bob:
    model_path: b.onnx
    background_dir: b
    crop_rects_path: b.json
";

#[test]
fn the_repositorys_own_file_keeps_every_byte() {
    let text = include_str!("../../../config.yaml");
    let edited = added(text);
    let models = edited.find("  anna:\n    model_path: ./models/anna/generator.onnx\n");
    assert!(models.unwrap() > edited.find("  jane:").unwrap());
    // Its entries are parted by blank lines.
    assert!(edited.contains("\n\n  anna:\n"), "{edited}");
    assert_eq!(
        added(&text.replace('\n', "\r\n")),
        edited.replace('\n', "\r\n")
    );
}

#[test]
fn the_entry_goes_after_the_last_one_as_that_is_indented() {
    let text =
        format!("models:\n  {BOB}    # of bob\n\n# about logging\nlogging:\n  level: info\n");
    assert_eq!(
        added(&text),
        format!(
            "models:\n  {BOB}    # of bob\n  anna:\n    model_path: ./models/anna/generator.onnx\n    \
             background_dir: ./models/anna/frames\n    crop_rects_path: ./models/anna/crop_rects.json\n    \
             fps: 25\n\n# about logging\nlogging:\n  level: info\n"
        )
    );
    let wide = "models:\n    bob:\n          model_path: b.onnx\n          background_dir: b\n          crop_rects_path: b.json";
    let edited = added(wide);
    assert!(
        edited.contains("b.json\n    anna:\n          model_path: ./"),
        "{edited}"
    );
}

#[test]
fn other_forms_of_the_section_are_added_to_as_well() {
    for text in [
        format!("\"models\":  # all of them\n  {BOB}"),
        "models: {bob: {model_path: b.onnx, background_dir: b, crop_rects_path: b.json}}\n".to_owned(),
        "{\"models\": {\"bob\": {\"model_path\": \"b\", \"background_dir\": \"b\", \"crop_rects_path\": \"b\"}}}".to_owned(),
        "models: &all\n  bob: &bob\n    model_path: b.onnx\n    background_dir: b\n    crop_rects_path: b.json\n  eva: *bob\n".to_owned(),
        format!("---\nserver:\n  port: 1\nmodels:\n  {BOB}...\n"),
        format!("\u{feff}models:\n  {BOB}"),
    ] {
        // A mark at the start is the parser's to take.
        if Config::parse(&text, Path::new("c.yaml")).is_ok() {
            let edited = added(&text);
            assert!(edited.contains("bob"), "{edited}");
        } else {
            assert!(text.starts_with('\u{feff}'), "{text}");
        }
    }
}

#[test]
fn a_file_that_lacks_its_first_model_gets_it() {
    for text in [
        "",
        "# nothing yet\n",
        "server:\n  port: 1",
        "models:\n",
        "models: {}\n",
        "models:\nlogging:\n  level: info\n",
    ] {
        added(text);
    }
    let Added::Text(new) =
        add_model(None, Path::new("c.yaml"), "anna", &entry("./models/anna")).unwrap()
    else {
        panic!("no text");
    };
    assert!(new.starts_with("# The configuration"), "{new}");
}

#[test]
fn a_model_that_is_there_is_left_alone_and_another_is_not_overwritten() {
    let edited = added(&format!("models:\n  {BOB}"));
    assert_eq!(add(&edited, "anna").unwrap(), Added::Present);
    let error = add(&format!("models:\n  {BOB}"), "bob").unwrap_err();
    assert!(matches!(error, AddError::Taken { .. }), "{error}");
}

#[test]
fn a_broken_file_is_told_as_it_is_and_not_written() {
    let error = add(&format!("models:\n  {BOB}    colour: red\n"), "anna").unwrap_err();
    assert!(matches!(error, AddError::Config(_)), "{error}");
    let error = add("models: [", "anna").unwrap_err();
    assert!(matches!(error, AddError::Config(_)), "{error}");
}

#[test]
fn a_form_that_is_not_understood_is_left_alone_with_the_lines_to_add() {
    let text = "shared: &all\n  a: 1\nmodels: *all\n";
    assert!(add(text, "anna").is_err());
    let text = "? models\n: bob: {model_path: b, background_dir: b, crop_rects_path: b}\n";
    let error = add(text, "anna").unwrap_err().to_string();
    assert!(
        error.contains("  anna:\n    model_path: ./models/anna"),
        "{error}"
    );
}

proptest! {
    /// Any name and folder that may be there come back as they were.
    #[test]
    fn names_and_paths_survive(id in "[!-.0-\\[\\]-~]([ -.0-\\[\\]-~]{0,20}[!-.0-\\[\\]-~])?", folder in "[ -~]{0,20}[!-~]") {
        let text = format!("models:\n  {BOB}");
        prop_assume!(id != "bob");
        let entry = entry(&folder);
        if let Added::Text(edited) = add_model(Some(&text), Path::new("c.yaml"), &id, &entry).unwrap() {
            let config = Config::parse(&edited, Path::new("c.yaml")).unwrap();
            let path = Path::new(&folder).join("frames");
            prop_assert_eq!(&config.model(&id).unwrap().background_dir, &path);
        }
    }
}
