// SPDX-License-Identifier: GPL-2.0
//! The table of options in minihv's manual is what minihv takes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use hvcore::options::Options;
use regex::Regex;

/// A row of the table.
struct Row {
    key: String,
    /// Values that are written as they are given; none where the row describes them.
    values: Vec<String>,
    default: Option<String>,
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn between_backticks(cell: &str) -> Vec<String> {
    Regex::new("`([^`]+)`").unwrap().captures_iter(cell).map(|word| word[1].to_owned()).collect()
}

fn rows() -> Vec<Row> {
    let manual = fs::read_to_string(workspace().join("minihv/README.md")).unwrap();
    let (_, rest) = manual.split_once("\n## Options\n").expect("no section on options");
    let (section, _) = rest.split_once("\n## ").expect("the section on options has no end");
    let row = Regex::new(r"(?m)^\| `([a-z0-9-]+)` \| ([^|]*) \| ([^|]*)\|").unwrap();
    row.captures_iter(section)
        .map(|cells| Row {
            key: cells[1].to_owned(),
            values: between_backticks(&cells[2]),
            default: between_backticks(&cells[3]).pop(),
        })
        .collect()
}

fn parse(key: &str, value: &str) -> Options {
    format!("{key}={value}").parse().unwrap_or_else(|error| panic!("{error}"))
}

/// The keys that the parser knows, from its source: it has no list of them.
fn keys() -> BTreeSet<String> {
    let source = fs::read_to_string(workspace().join("hvcore/src/options.rs")).unwrap();
    let (_, parser) = source.split_once("fn set(").expect("no parser");
    let (parser, _) = parser.split_once("Err(Reason::KnownKey)").expect("the parser has no end");
    let arm = Regex::new(r#"(?m)^ +"([a-z0-9-]+)"(?: if [^\n]*)? => "#).unwrap();
    arm.captures_iter(parser).map(|arm| arm[1].to_owned()).collect()
}

#[test]
fn the_table_has_every_option() {
    let rows = rows();
    let described: BTreeSet<String> = rows.iter().map(|row| row.key.clone()).collect();
    assert_eq!(described.len(), rows.len(), "an option stands there twice");
    assert_eq!(described, keys());
}

#[test]
fn the_values_are_taken_and_the_defaults_are_right() {
    for Row { key, values, default } in rows() {
        for value in &values {
            parse(&key, value);
        }
        if let Some(default) = default {
            assert_eq!(parse(&key, &default), Options::default(), "{key}={default}");
            assert!(values.is_empty() || values.contains(&default), "{key}: {default} is none of {values:?}");
            for value in values.iter().filter(|&value| *value != default) {
                assert_ne!(parse(&key, value), Options::default(), "{key}={value}");
            }
        }
    }
}
