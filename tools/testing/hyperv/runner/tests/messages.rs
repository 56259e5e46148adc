// SPDX-License-Identifier: GPL-2.0
//! Documentation/virt/hyperv/pviommu-messages.rst, host-iommu.rst for the driver of the root partition, and
//! virtio-iommu-rust.rst for virtio-iommu's, quote every message that the drivers and abstractions of this project can print,
//! with its level, and none besides. The samples (samples/rust) have none to quote: who loads one reads its source.
//!
//! A message of the sources and its quotation are compared by their constant text: `{name}`, `%s` and `<anything>` stand
//! for the same. The guest's driver hands most of its texts to one function, `say`, as data: `%` stands for what differs.

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
const PREFIXES: [(&str, &str); 5] = [
    ("drivers/iommu/hyperv/root/", "hv_root_iommu: "),
    ("drivers/iommu/hyperv/", "hv_pviommu: "),
    ("drivers/hv/", "hv_pci_dev_id: "),
    ("rust/kernel/", "rust_kernel: "),
    ("arch/x86/hyperv/hv_init.c", "Hyper-V: "),
];

/// Directories with messages of this project, besides the patches.
const DIRECTORIES: [&str; 4] = ["drivers/iommu/hyperv", "drivers/iommu/virtio_iommu_rust", "drivers/hv", "rust/kernel"];

const PAGES: [&str; 3] = [
    "Documentation/virt/hyperv/pviommu-messages.rst",
    "Documentation/virt/hyperv/host-iommu.rst",
    "Documentation/virt/hyperv/virtio-iommu-rust.rst",
];

/// What `say` puts before a text.
const SAID: [&str; 2] = ["hv_pviommu: ", "IOMMU: "];

/// Words in place of a `%` that hold a blank.
const WORDS: [&str; 5] = ["no blocking domain", "no identity domain", "; DMA is blocked", " 2M", " 1G"];

/// The file of `say` itself.
const SAYS: &str = "drivers/iommu/hyperv/host/message.rs";

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

/// The strings in a text, as they are printed.
fn strings(code: &str) -> Vec<String> {
    let quoted = Regex::new(r#""((?:[^"\\]|\\.|\\\n)*)""#).unwrap();
    quoted.captures_iter(code).map(|literal| unescaped(&literal[1])).collect()
}

/// The calls in a text, which is free of comments. The first string in the call is the message; strings that follow one
/// another are one, as in C.
fn calls(code: &str) -> Vec<Call> {
    let literal = Regex::new(r#"^[^";]*?((?:"(?:[^"\\]|\\.|\\\n)*"\s*)+)"#).unwrap();
    let found = Regex::new(CALL).unwrap();
    let starts = found.captures_iter(code);
    starts
        .map(|call| {
            let rest = &code[call.get(0).unwrap().end()..];
            let literals = literal.captures(rest).unwrap_or_else(|| panic!("no text in {:.80}", &rest));
            let text: String = strings(&literals[1]).concat();
            Call { family: call[1].to_owned(), level: call[2].to_owned(), text }
        })
        .collect()
}

/// A text that `say` is given in a file, or a part of such a text.
struct Said {
    text: String,
    /// What it becomes when each `%` is replaced.
    becomes: Regex,
    /// The levels that the file names.
    levels: Vec<String>,
    path: String,
}

impl Said {
    fn new(text: String, levels: &[String], path: &str) -> Said {
        let becomes = text.split('%').map(regex::escape).collect::<Vec<_>>().join(".*");
        Said {
            text,
            becomes: Regex::new(&format!("^{becomes}$")).unwrap(),
            levels: levels.to_vec(),
            path: path.to_owned(),
        }
    }

    fn may_have(&self, level: &str) -> bool {
        self.levels.iter().any(|named| named == level)
    }

    /// Whether a quotation is this text with its words, or has words where the text has none.
    fn is(&self, (quoted, level): &Message) -> bool {
        let texts = SAID.iter().filter_map(|prefix| quoted.strip_prefix(prefix));
        let covers = |quoted: &str| {
            let any = quoted.split("<>").map(regex::escape).collect::<Vec<_>>().join(".*");
            Regex::new(&format!("^{any}$")).unwrap().is_match(&self.text)
        };
        self.may_have(level) && texts.into_iter().any(|text| self.becomes.is_match(text) || covers(text))
    }

    /// Whether a quotation contains it, as one contains the end that several messages share.
    fn is_part_of(&self, (quoted, level): &Message) -> bool {
        self.may_have(level) && quoted.contains(&self.text)
    }
}

/// The texts of a file, which is free of comments, that uses `say`.
fn said(path: &str, code: &str) -> Vec<Said> {
    let uses = Regex::new(r"\bsay\(").unwrap();
    if path == SAYS || path.starts_with("drivers/iommu/hyperv/tests/") || !uses.is_match(code) {
        return Vec::new();
    }
    let levels = Regex::new(r"\bLevel::([A-Z][a-z]+)").unwrap();
    let levels: Vec<String> = levels.captures_iter(code).map(|level| level[1].to_lowercase()).collect();
    let texts = strings(code).into_iter();
    // What holds a name in braces belongs to one of the kernel's macros.
    let is_text = |text: &String| text.contains(' ') && !text.contains('{') && !WORDS.contains(&text.as_str());
    texts.filter(is_text).map(|text| Said::new(text, &levels, path)).collect()
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
    let lines: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    lines.join("\n")
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

fn printed() -> (Messages, Vec<Said>) {
    let (mut messages, mut texts) = (Messages::new(), Vec::new());
    for directory in DIRECTORIES {
        for entry in WalkDir::new(root().join(directory)) {
            let path = entry.unwrap().into_path();
            if path.extension().is_none_or(|extension| extension != "rs" && extension != "c") {
                continue;
            }
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            let code = without_comments(&fs::read_to_string(&path).unwrap());
            texts.extend(said(&name, &code));
            if name != SAYS {
                enter(&mut messages, &name, &code);
            }
        }
    }
    for entry in fs::read_dir(root().join("patches")).unwrap() {
        for (file, code) in added_c(&fs::read_to_string(entry.unwrap().path()).unwrap()) {
            enter(&mut messages, &file, &code);
        }
    }
    (messages, texts)
}

/// What the pages quote: terms of a definition list, with the level behind them and the two things that must be said.
fn quoted() -> Messages {
    let entry = Regex::new(r"(?m)^``(.+)`` \(([a-z]+)\)\n((?:    .*\n|\n)+)").unwrap();
    let mut messages = Messages::new();
    for page in PAGES {
        let text = fs::read_to_string(root().join(page)).unwrap();
        for found in entry.captures_iter(&text) {
            for said in ["*Cause.* ", "*Remedy.* "] {
                assert!(found[3].contains(said), "{}: no {said}", &found[1]);
            }
            let old = messages.insert((constant(&found[1]), found[2].to_owned()), page.to_owned());
            assert_ne!(old.as_deref(), Some(page), "quoted twice: {}", &found[1]);
        }
    }
    messages
}

#[test]
fn the_page_quotes_every_message_and_no_other() {
    let ((printed, said), quoted) = (printed(), quoted());
    let lacking: Vec<_> = printed.iter().filter(|(message, _)| !quoted.contains_key(message)).collect();
    assert!(lacking.is_empty(), "not quoted: {lacking:#?}");
    let is_quoted = |text: &Said| quoted.keys().any(|message| text.is(message) || text.is_part_of(message));
    let lacking: Vec<_> = said.iter().filter(|text| !is_quoted(text)).map(|text| (&text.text, &text.path)).collect();
    assert!(lacking.is_empty(), "not quoted: {lacking:#?}");
    let is_there = |message: &Message| printed.contains_key(message) || said.iter().any(|text| text.is(message));
    let gone: Vec<_> = quoted.iter().filter(|(message, _)| !is_there(message)).collect();
    assert!(gone.is_empty(), "quoted, and nothing prints it: {gone:#?}");
    assert!(printed.len() + said.len() > 60, "{} and {} messages found", printed.len(), said.len());
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

/// A text that is data of a call.
#[test]
fn said_texts_are_found() {
    let code =
        "let text = \"no sleep: % of %\";\nsay(Level::Err, None, text, &words);\nsay(Level::Info, dev, \"gone\", &[]);";
    let texts = said("drivers/iommu/hyperv/sleep/any.rs", code);
    assert_eq!(texts.len(), 1);
    let message = |text: &str, level: &str| (text.to_owned(), level.to_owned());
    assert!(texts[0].is(&message("hv_pviommu: no sleep: <> of 5", "err")));
    assert!(!texts[0].is(&message("hv_pviommu: no rest: <> of <>", "err")));
    assert!(!texts[0].is(&message("hv_pviommu: no sleep: <> of 5", "warn")));
    assert!(said(SAYS, code).is_empty());
}
