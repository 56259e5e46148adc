// SPDX-License-Identifier: GPL-2.0
//! Documentation/virt/hyperv/pviommu-messages.rst quotes every message that the kernel side of this project can print,
//! with its level, and none besides.
//!
//! A message of the sources and its quotation are compared by their constant text: `{name}`, `%s` and `<anything>` stand
//! for the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use regex::{Captures, Regex};
use walkdir::WalkDir;

/// A message without what differs from one time to the next, and its level.
type Message = (String, String);

/// Messages, each with a place where it stands.
type Messages = BTreeMap<Message, String>;

/// What the kernel puts before a message of the `pr_` family, by the directory or file.
const PREFIXES: [(&str, &str); 4] = [
    ("drivers/iommu/hyperv/", "hv_pviommu: "),
    ("drivers/hv/", "hv_pci_dev_id: "),
    ("rust/kernel/", "rust_kernel: "),
    ("arch/x86/hyperv/hv_init.c", "Hyper-V: "),
];

/// Directories with messages of this project, besides the patches.
const DIRECTORIES: [&str; 3] = ["drivers/iommu/hyperv", "drivers/hv", "rust/kernel"];

const PAGE: &str = "Documentation/virt/hyperv/pviommu-messages.rst";

/// The start of a call that prints: the family, the level, and how often it prints.
const CALL: &str =
    r"\b(pr|dev|pci)_(emerg|alert|crit|err|warn|notice|info|debug|dbg)(?:_once|_ratelimited)?(?:!\s*|\s*)[({]";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../..")
}

/// A call that prints a text which was found.
struct Call {
    family: String,
    level: String,
    text: String,
}

/// What is written between quotation marks, as it is printed.
fn unescaped(literal: &str) -> String {
    let joined = Regex::new(r"\\\n\s*").unwrap().replace_all(literal, "");
    joined.replace(r"\n", "").replace(r#"\""#, "\"")
}

/// The calls in a text, which is free of comments. The first string in the call is the message; strings that follow one
/// another are one, as in C.
fn calls(code: &str) -> Vec<Call> {
    let literal = Regex::new(r#"^[^";]*?((?:"(?:[^"\\]|\\.|\\\n)*"\s*)+)"#).unwrap();
    let quoted = Regex::new(r#""((?:[^"\\]|\\.|\\\n)*)""#).unwrap();
    let found = Regex::new(CALL).unwrap();
    let starts = found.captures_iter(code);
    starts
        .map(|call| {
            let rest = &code[call.get(0).unwrap().end()..];
            let literals = literal.captures(rest).unwrap_or_else(|| panic!("no text in {:.80}", &rest));
            let text: String = quoted.captures_iter(&literals[1]).map(|part| unescaped(&part[1])).collect();
            Call { family: call[1].to_owned(), level: call[2].to_owned(), text }
        })
        .collect()
}

/// The constant text of a message.
fn constant(text: &str) -> String {
    Regex::new(r"\{[^}]*\}|%[-#0-9.]*(?:l|ll|h|z)?[a-zA-Z]+|<[^>]*>").unwrap().replace_all(text, "<>").into_owned()
}

/// `text` with the string constants of its file in place of their names.
fn resolved(text: &str, code: &str) -> String {
    let constants: BTreeMap<String, String> = Regex::new(r#"const ([A-Z_]+): &str = "([^"]*)";"#)
        .unwrap()
        .captures_iter(code)
        .map(|found| (found[1].to_owned(), found[2].to_owned()))
        .collect();
    let named = Regex::new(r"\{([A-Z_]+)\}").unwrap();
    named
        .replace_all(text, |name: &Captures<'_>| constants.get(&name[1]).cloned().unwrap_or_else(|| name[0].to_owned()))
        .into_owned()
}

fn enter(messages: &mut Messages, path: &str, code: &str) {
    for call in calls(code) {
        let text = resolved(&call.text, code);
        let text = match call.family.as_str() {
            "pr" => {
                let prefix = PREFIXES.iter().find(|(start, _)| path.starts_with(start));
                let (_, prefix) = prefix.unwrap_or_else(|| panic!("{path}: the prefix of its messages is not known"));
                format!("{prefix}{text}")
            }
            _ => text,
        };
        messages.insert((constant(&text), call.level), path.to_owned());
    }
}

/// Rust without the lines that are comments.
fn without_comments(code: &str) -> String {
    code.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

/// The lines that a patch adds to each C file.
fn added_c(patch: &str) -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let mut file = "";
    for line in patch.lines() {
        if let Some(path) = line.strip_prefix("+++ b/") {
            file = path;
        } else if let Some(added) = line.strip_prefix('+') {
            if file.ends_with(".c") || file.ends_with(".h") {
                let code = files.entry(file.to_owned()).or_default();
                code.push_str(added);
                code.push('\n');
            }
        }
    }
    files
}

fn printed() -> Messages {
    let mut messages = Messages::new();
    for directory in DIRECTORIES {
        for entry in WalkDir::new(root().join(directory)) {
            let path = entry.unwrap().into_path();
            if path.extension().is_none_or(|extension| extension != "rs" && extension != "c") {
                continue;
            }
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            enter(&mut messages, &name, &without_comments(&fs::read_to_string(&path).unwrap()));
        }
    }
    for entry in fs::read_dir(root().join("patches")).unwrap() {
        for (file, code) in added_c(&fs::read_to_string(entry.unwrap().path()).unwrap()) {
            enter(&mut messages, &file, &code);
        }
    }
    messages
}

/// What the page quotes: terms of a definition list, with the level behind them and the two things that must be said.
fn quoted() -> Messages {
    let page = fs::read_to_string(root().join(PAGE)).unwrap();
    let entry = Regex::new(r"(?m)^``(.+)`` \(([a-z]+)\)\n((?:    .*\n|\n)+)").unwrap();
    let mut messages = Messages::new();
    for found in entry.captures_iter(&page) {
        for said in ["*Cause.* ", "*Remedy.* "] {
            assert!(found[3].contains(said), "{}: no {said}", &found[1]);
        }
        let old = messages.insert((constant(&found[1]), found[2].to_owned()), found[1].to_owned());
        assert_eq!(old, None, "quoted twice: {}", &found[1]);
    }
    messages
}

#[test]
fn the_page_quotes_every_message_and_no_other() {
    let (printed, quoted) = (printed(), quoted());
    let lacking: Vec<_> = printed.iter().filter(|(message, _)| !quoted.contains_key(message)).collect();
    let gone: Vec<_> = quoted.iter().filter(|(message, _)| !printed.contains_key(message)).collect();
    assert!(lacking.is_empty(), "{PAGE} lacks: {lacking:#?}");
    assert!(gone.is_empty(), "{PAGE} quotes what nothing prints: {gone:#?}");
    assert!(printed.len() > 40, "{} messages found", printed.len());
}

/// What is found in Rust and in C, and what is not.
#[test]
fn messages_are_found() {
    let rust =
        "const END: &str = \"; stays\";\nx => pr_err!(\n    \"{} of {id:#x}\\\n     : gone{END}\\n\",\n    NAME\n),";
    let mut messages = Messages::new();
    enter(&mut messages, "drivers/iommu/hyperv/any/file.rs", rust);
    enter(
        &mut messages,
        "any.rs",
        &without_comments("// dev_info!(a, \"no\")\ndev_warn!(dev, \"IOMMU: \\\"{x}\\\"\\n\");"),
    );
    let patch =
        "+++ b/arch/x86/hyperv/hv_init.c\n+\tpr_warn(\"a=%s: \"\n+\t\t\"%#llx b\\n\", s);\n \tpr_info(\"old\\n\");\n";
    for (file, code) in added_c(patch) {
        enter(&mut messages, &file, &code);
    }
    let expected =
        [("Hyper-V: a=<>: <> b", "warn"), ("IOMMU: \"<>\"", "warn"), ("hv_pviommu: <> of <>: gone; stays", "err")];
    let found: Vec<(&str, &str)> = messages.keys().map(|(text, level)| (text.as_str(), level.as_str())).collect();
    assert_eq!(found, expected);
}
