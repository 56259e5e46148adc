// SPDX-License-Identifier: GPL-2.0
//! The suites that the runner demands of a kernel are those of the sources, with as many tests; and each module of the
//! Rust abstractions has a test in the kernel, or an example, which is compiled.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use walkdir::WalkDir;

/// Suites by their names, each with the number of its tests.
type Suites = BTreeMap<String, usize>;

/// Where suites are.
const DIRECTORIES: [&str; 3] = ["rust", "drivers", "samples"];

/// The options on which a test depends, as the debug kernel has them. The boot kunit/built-in tells whether that is so.
const DEBUG_KERNEL: [(&str, &str); 4] = [
    ("CONFIG_HIBERNATION", "y"),
    ("CONFIG_IOMMUFD_TEST", "y"),
    ("CONFIG_IOMMU_PT_AMDV1", "y"),
    ("CONFIG_IOMMU_PT_VTDSS", "y"),
];

/// The suite that the kernel makes of the examples, in kernels that are configured to. No source has it.
const GENERATED: &str = "rust_doctests_kernel";

/// Modules with neither an example nor a test of their own, and the reason.
const BARE: [(&str, &str); 7] = [
    ("rust/kernel/hyperv/mod.rs", "it lists modules"),
    ("rust/kernel/virtio/mod.rs", "it lists modules"),
    ("rust/kernel/hyperv/pci_requester.rs", "the host's tests build it, without the kernel: driver-pure"),
    ("rust/kernel/hyperv/per_cpu.rs", "what it gives to drivers is in per_cpu/counters.rs, whose suite uses it"),
    ("rust/kernel/iommu/registry.rs", "it is private; rust_kernel_iommu_callbacks registers IOMMUs and finds them"),
    ("rust/kernel/iommu/kunit.rs", "it lists suites"),
    ("rust/kernel/iommu/kunit/driver.rs", "the suites beside it use it"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../..")
}

/// The files below a directory of the project whose names end so, with their paths in the project.
fn files(directory: &str, end: &str) -> Vec<(String, String)> {
    let root = root();
    let entries = WalkDir::new(root.join(directory)).sort_by_file_name().into_iter().map(|entry| entry.unwrap());
    entries
        .filter(|entry| entry.file_type().is_file() && entry.file_name().to_string_lossy().ends_with(end))
        .map(|entry| {
            let path = entry.path().strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            (path, fs::read_to_string(entry.path()).unwrap())
        })
        .collect()
}

/// Whether a condition of `#[cfg]` holds in the debug kernel.
fn holds(condition: &str) -> bool {
    if let Some(all) = condition.strip_prefix("all(").and_then(|rest| rest.strip_suffix(')')) {
        return all.split(',').all(|part| holds(part.trim()));
    }
    let (option, wanted) = match condition.split_once('=') {
        Some((option, value)) => (option.trim(), Some(value.trim().trim_matches('"'))),
        None => (condition, None),
    };
    let Some((_, value)) = DEBUG_KERNEL.iter().find(|(name, _)| *name == option) else {
        panic!("a test depends on {condition}: say what the debug kernel has of it");
    };
    wanted.is_none_or(|wanted| wanted == *value)
}

/// The tests of a suite's module. The attributes of a function are the lines right before it.
fn tests_in(module: &str) -> usize {
    let condition = Regex::new(r"^#\[cfg\((.*)\)\]$").unwrap();
    let (mut count, mut is_test, mut conditions) = (0, false, Vec::new());
    for line in module.lines().map(str::trim) {
        if line == "#[test]" {
            is_test = true;
        } else if let Some(found) = condition.captures(line) {
            conditions.push(found[1].to_owned());
        } else if !line.starts_with("#[") && !line.starts_with("//") {
            if is_test {
                count += 1;
                for condition in &conditions {
                    assert!(holds(condition), "the debug kernel would skip a test, which is a failure: {condition}");
                }
            }
            is_test = false;
            conditions.clear();
        }
    }
    count
}

/// The suites of a file in Rust. A suite's module ends with the first line that is a brace alone.
fn rust_suites(text: &str) -> Suites {
    let suite = Regex::new(r"(?ms)^#\[(?:[a-z]+::)*kunit_tests\((\w+)\)\]\n(.*?)^\}$").unwrap();
    suite.captures_iter(text).map(|found| (found[1].to_owned(), tests_in(&found[2]))).collect()
}

/// The suite of a file in C, if it has one.
fn c_suites(text: &str) -> Suites {
    let suite = Regex::new(r#"struct kunit_suite \w+ = \{\s*\.name = "(\w+)""#).unwrap();
    let case = Regex::new(r"\bKUNIT_CASE\w*\(").unwrap();
    suite.captures_iter(text).map(|found| (found[1].to_owned(), case.find_iter(text).count())).collect()
}

/// The suites of the sources.
fn suites_of_the_sources() -> Suites {
    let mut suites = Suites::new();
    for directory in DIRECTORIES {
        let rust = files(directory, ".rs").into_iter().map(|(path, text)| (path, rust_suites(&text)));
        let c = files(directory, ".c").into_iter().map(|(path, text)| (path, c_suites(&text)));
        for (path, found) in rust.chain(c) {
            for (name, tests) in found {
                assert!(suites.insert(name.clone(), tests).is_none(), "{path}: another suite is called {name}, too");
            }
        }
    }
    suites
}

/// The suites that the runner's sources name.
fn suites_of_the_runner() -> Suites {
    let suite = Regex::new(r#"KunitSuite \{ name: "(\w+)", tests: (\d+) \}"#).unwrap();
    let mut suites = Suites::new();
    for (_, text) in files("tools/testing/hyperv/runner/src", ".rs") {
        suites.extend(suite.captures_iter(&text).map(|found| (found[1].to_owned(), found[2].parse().unwrap())));
    }
    suites.remove(GENERATED);
    suites
}

#[test]
fn all_suites_are_demanded() {
    let sources = suites_of_the_sources();
    assert!(sources.len() > 10, "{sources:?}");
    assert_eq!(suites_of_the_runner(), sources, "left: what the runner demands; right: what the sources have");
}

#[test]
fn every_module_has_an_example_or_a_test() {
    // An example that is not compiled has a word behind the quotation marks.
    let example = Regex::new(r"(?m)^\s*//[/!] ```$").unwrap();
    for (path, text) in files("rust/kernel", ".rs") {
        let has = example.is_match(&text) || !rust_suites(&text).is_empty();
        let bare = BARE.iter().any(|(name, _)| *name == path);
        assert!(has || bare, "{path} has neither an example nor a test");
        assert!(!has || !bare, "{path} has an example or a test now");
    }
    for (path, _) in BARE {
        assert!(root().join(path).exists(), "{path} is gone");
    }
}

/// A suite with what makes counting hard.
const SAMPLE: &str = r#"
#[allow(unsafe_code)]
#[macros::kunit_tests(sample)]
mod tests {
    /// Says why.
    #[test]
    fn one() {
    }

    #[test]
    #[cfg(all(CONFIG_IOMMU_PT_AMDV1 = "y", CONFIG_IOMMUFD_TEST))]
    fn two() -> Result {
        Ok(())
    }

    #[cfg(CONFIG_OF_NO_TEST)]
    fn no_test() {}

    #[test]
    fn three() {}
}

fn outside() {}
"#;

#[test]
fn tests_are_counted() {
    assert_eq!(rust_suites(SAMPLE), Suites::from([("sample".to_owned(), 3)]));
    assert!(rust_suites("#[cfg(test)]\nmod tests {\n    #[test]\n    fn one() {}\n}\n").is_empty());
    let c = "\tKUNIT_CASE_PARAM(a, b),\n\tKUNIT_CASE(c),\nstatic struct kunit_suite suite = {\n\t.name = \"in_c\",\n";
    assert_eq!(c_suites(c), Suites::from([("in_c".to_owned(), 2)]));
}

#[test]
#[should_panic(expected = "say what the debug kernel has")]
fn an_unknown_option_is_a_failure() {
    holds("CONFIG_SOMETHING_ELSE");
}

#[test]
#[should_panic(expected = "would skip a test")]
fn a_test_that_is_not_built_is_a_failure() {
    tests_in("    #[cfg(CONFIG_IOMMU_PT_VTDSS = \"m\")]\n    #[test]\n    fn one() {}\n");
}
