//! The manifests, against the API's schemas and against each other.

use std::path::PathBuf;
use std::process::Command;

use crate::common::skip;
use crate::{file, well};

/// The version of Kubernetes whose schemas are held against the manifests.
const VERSION: &str = "1.31";

/// Checks every document of the files given; fails with a line for each that is wrong.
const VALIDATE: &str = r"
import sys, yaml, kubernetes_validate
wrong = 0
for path in sys.argv[2:]:
    for document in yaml.safe_load_all(open(path)):
        try:
            kubernetes_validate.validate(document, sys.argv[1], strict=True)
        except Exception as error:
            wrong += 1
            print(path, document.get('kind'), str(error).splitlines()[0])
sys.exit(wrong)
";

/// The Python that has what the tests need.
fn python() -> PathBuf {
    std::env::var_os("VIRTUAL_ENV").map_or_else(
        || "python3".into(),
        |venv| PathBuf::from(venv).join("bin/python"),
    )
}

fn kustomization() -> String {
    std::fs::read_to_string(file("kubernetes/kustomization.yaml")).unwrap()
}

/// The manifests that the kustomization names.
fn resources() -> Vec<PathBuf> {
    let text = kustomization();
    let (_, list) = text.split_once("resources:\n").unwrap();
    list.lines()
        .map_while(|line| line.strip_prefix("  - "))
        .map(|name| file("kubernetes").join(name))
        .collect()
}

#[test]
fn the_manifests_are_valid() {
    let has = Command::new(python())
        .args(["-c", "import kubernetes_validate"])
        .output();
    if !has.is_ok_and(|output| output.status.success()) {
        skip::skipped("kubernetes-validate", "Python does not have it");
        return;
    }
    let output = Command::new(python())
        .args(["-c", VALIDATE, VERSION])
        .args(resources())
        .output()
        .unwrap();
    well(&output);
}

#[test]
fn every_file_is_used() {
    let mut used: Vec<String> = resources()
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    used.push("kustomization.yaml".to_owned());
    let text = kustomization();
    let files = text
        .lines()
        .filter_map(|line| line.strip_prefix("      - "))
        .map(str::to_owned);
    used.extend(files);
    used.sort();
    let mut there: Vec<String> = std::fs::read_dir(file("kubernetes"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    there.sort();
    assert_eq!(used, there);
}

#[test]
fn the_configuration_is_valid_and_its_times_and_ports_fit_the_pods() {
    let path = file("kubernetes/config.yaml");
    let output = Command::new(env!("CARGO_BIN_EXE_lipsync"))
        .arg("validate-config")
        .arg(&path)
        .output()
        .unwrap();
    well(&output);
    let config = std::fs::read_to_string(path).unwrap();
    let pods = std::fs::read_to_string(file("kubernetes/statefulset.yaml")).unwrap();
    let number = |text: &str, key: &str| -> u64 {
        let line = text.lines().find(|line| line.trim().starts_with(key));
        let (_, value) = line.unwrap().split_once(':').unwrap();
        let digits: String = value
            .chars()
            .skip_while(|c| !c.is_ascii_digit())
            .take_while(char::is_ascii_digit)
            .collect();
        digits.parse().unwrap()
    };
    let drain = number(&config, "drain_seconds");
    let before = number(&config, "drain_notice_seconds");
    assert!(number(&pods, "terminationGracePeriodSeconds") > drain + before);
    for port in ["50053", "8080"] {
        assert!(config.contains(&format!("0.0.0.0:{port}")), "{port}");
        assert!(pods.contains(&format!("containerPort: {port}")), "{port}");
    }
}
