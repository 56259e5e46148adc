// SPDX-License-Identifier: GPL-2.0
//! All figures of one run, and the file that they are kept in.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{ensure, Context, Result};
use serde::{Deserialize, Serialize};

use super::environment::Environment;
use super::figure::Figures;
use super::variation::Variation;

/// The first field of the file. In two pieces, or checkers take it for this file's.
const LICENSE: &str = concat!("SPD", "X-License-Identifier: GPL-2.0");
/// How results that are kept are made.
pub const COMMAND: &str = "make bench ARGS=--record";

/// What was measured, and under which circumstances. Nothing in it depends on when or where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    license: String,
    command: String,
    /// The circumstances.
    pub environment: Environment,
    /// Figures of each configuration, and the sizes of objects.
    pub configurations: BTreeMap<String, Figures>,
    /// What the figures of each configuration vary by, where they do.
    #[serde(default)]
    pub variation: BTreeMap<String, Variation>,
}

impl Results {
    /// Results without figures.
    pub fn new(environment: Environment) -> Results {
        let (license, command) = (LICENSE.to_owned(), COMMAND.to_owned());
        Results { license, command, environment, configurations: BTreeMap::new(), variation: BTreeMap::new() }
    }

    /// These results, with those of each configuration that `newer` has in place of its own.
    ///
    /// # Errors
    /// When they were measured under other circumstances: the two cannot stand side by side.
    pub fn updated(mut self, newer: Results) -> Result<Results> {
        let differences = newer.environment.differences(&self.environment);
        ensure!(differences.is_empty(), "a part cannot be recorded beside the rest: {}", differences.join("; "));
        for name in newer.configurations.keys() {
            self.variation.remove(name);
        }
        self.variation.extend(newer.variation);
        self.configurations.extend(newer.configurations);
        Ok(self)
    }

    /// The figures of a configuration, when it was measured.
    pub fn figures(&self, configuration: &str) -> Option<&Figures> {
        self.configurations.get(configuration)
    }

    /// The relative difference up to which two values of a figure count as the same, by what it varied here.
    pub fn tolerance(&self, configuration: &str, metric: &str) -> f64 {
        self.variation.get(configuration).map_or(0.0, |variation| variation.tolerance(metric))
    }

    /// One value.
    pub fn value(&self, configuration: &str, metric: &str) -> Option<f64> {
        self.figures(configuration)?.value(metric)
    }

    /// How much of `what` the part `parts` is not: the value without them. A part that is absent counts as nothing.
    pub fn without(&self, configuration: &str, what: &str, parts: &[&str]) -> Option<f64> {
        let whole = self.value(configuration, what)?;
        Some(parts.iter().fold(whole, |rest, part| rest - self.value(configuration, part).unwrap_or(0.0)))
    }

    /// The text of the file.
    ///
    /// # Errors
    /// Never in practice: all of it can be written as JSON.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self).context("results as JSON")? + "\n")
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_json(text: &str) -> Result<Results> {
        serde_json::from_str(text).context("not results of the benchmark")
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When there is none, or it holds something else.
    pub fn load(path: &Path) -> Result<Results> {
        let name = || path.display().to_string();
        Results::from_json(&std::fs::read_to_string(path).with_context(name)?).with_context(name)
    }
}

/// Results with these lines for these configurations.
#[cfg(test)]
pub fn sample(configurations: &[(&str, &str)]) -> Results {
    let mut results = Results::new(super::environment::sample());
    for (name, lines) in configurations {
        let lines: Vec<String> = lines.lines().map(|line| format!("bench: {}", line.trim())).collect();
        let figures = Figures::read(lines.iter().map(String::as_str)).unwrap();
        results.configurations.insert((*name).to_owned(), figures);
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_everything() {
        let results = sample(&[("hv-strict", "a/b 1.5 calls\nc 3 pages"), ("none", "a/b 100 instructions")]);
        let text = results.to_json().unwrap();
        assert_eq!(Results::from_json(&text).unwrap(), results);
        assert!(text.lines().nth(1).unwrap().contains(LICENSE));
        assert_eq!(text, results.to_json().unwrap());
    }

    #[test]
    fn a_part_is_put_in_place_of_what_was_there() {
        let mut old = sample(&[("hv-strict", "a 1 calls"), ("none", "a 2 calls\nb 3 calls")]);
        let varying = super::super::variation::sample("a", 0.1);
        old.variation.insert("none".to_owned(), varying);
        let new = sample(&[("none", "a 4 calls"), ("more", "a 5 calls")]);
        let expected = sample(&[("hv-strict", "a 1 calls"), ("none", "a 4 calls"), ("more", "a 5 calls")]);
        assert_eq!(old.clone().updated(new.clone()).unwrap(), expected);
        old.environment.cpus += 1;
        let refused = old.updated(new).unwrap_err().to_string();
        assert!(refused.contains("number of processors"), "{refused}");
    }

    #[test]
    fn other_files_are_refused() {
        assert!(Results::from_json("{}").is_err());
        assert!(Results::from_json("").is_err());
        let more = sample(&[]).to_json().unwrap().replacen('{', "{\"more\": 1,", 1);
        assert!(Results::from_json(&more).is_err());
    }

    #[test]
    fn parts_are_taken_away() {
        let results = sample(&[("x", "unmap 1000 instructions\nhypervisor 400 instructions")]);
        assert_eq!(results.without("x", "unmap", &["hypervisor"]), Some(600.0));
        assert_eq!(results.without("x", "unmap", &["other"]), Some(1000.0));
        assert_eq!(results.without("x", "map", &["hypervisor"]), None);
        assert_eq!(results.without("y", "unmap", &[]), None);
    }
}
