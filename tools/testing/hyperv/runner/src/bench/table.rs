// SPDX-License-Identifier: GPL-2.0
//! What the user sees: tables on the terminal.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

use super::configuration::{ALL, ROOT};
use super::objects::OBJECTS;
use super::reference::{ratio, Flushing, Operation, PAGES};
use super::results::Results;
use super::targets::{instructions, State, Target};

/// A table without lines; all columns but the first `left` are numbers.
fn table(header: &[&str], left: usize) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(header);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_cell_alignment(if index < left { CellAlignment::Left } else { CellAlignment::Right });
    }
    table
}

/// The text of a table, without spaces at the ends of lines.
fn text(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// A name split so that numbers in it sort as numbers: `4p` before `16p`.
fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let word = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (text, tail) = rest.split_at(word);
        let digits = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
        // A number that is too long for a number sorts last.
        parts.push((text.to_owned(), tail[..digits].parse().unwrap_or(u64::MAX)));
        rest = &tail[digits..];
    }
    parts
}

/// All figures of some configurations, a row for each name that contains one of `filters`.
fn figures(results: &Results, configurations: &[&str], filters: &[String]) -> Option<String> {
    let measured: Vec<(&str, _)> =
        configurations.iter().filter_map(|name| Some((*name, results.figures(name)?))).collect();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    let mut rows: Vec<(&str, String)> = Vec::new();
    for (_, figures) in &measured {
        rows.extend(figures.iter().filter(|(name, _)| wanted(name)).map(|(name, f)| (name, f.unit.to_string())));
    }
    rows.sort_by_key(|(name, unit)| (natural(name), unit.clone()));
    rows.dedup();
    if rows.is_empty() {
        return None;
    }
    let mut header = vec!["figure", "unit"];
    header.extend(measured.iter().map(|(name, _)| *name));
    let mut out = table(&header, 2);
    for (name, unit) in rows {
        let cells = measured.iter().map(|(_, figures)| figures.get(name).map_or_else(String::new, |f| f.to_string()));
        out.add_row([name.to_owned(), unit].into_iter().chain(cells));
    }
    Some(text(&out))
}

/// Every figure, in tables of configurations that measure the same.
pub fn all_figures(results: &Results, filters: &[String]) -> Vec<String> {
    let measured = |name: &str| results.figures(name).is_some();
    let of = |wanted: &str| -> Vec<&str> {
        ALL.iter().map(|c| c.name).filter(|name| name.contains(wanted) && measured(name)).collect()
    };
    // Without an IOMMU there is no mode: beside whatever was measured.
    let (strict, deferred) = (of(Flushing::Strict.name()), of(Flushing::Deferred.name()));
    let beside = |mode: &[&'static str]| if mode.is_empty() { Vec::new() } else { [mode, &of("none")].concat() };
    let alone = if strict.is_empty() && deferred.is_empty() { of("none") } else { Vec::new() };
    let groups = [beside(&strict), beside(&deferred), alone, of("boot"), of(ROOT), vec![OBJECTS]];
    groups.iter().filter_map(|group| figures(results, group, filters)).collect()
}

/// This driver beside intel-iommu and the C driver. `None` when too little was measured.
pub fn comparison(results: &Results) -> Option<String> {
    let mut out =
        table(&["", "", "pages", "this driver", "intel-iommu", "ratio", "C driver's ratio", "its instructions"], 2);
    for flushing in Flushing::ALL {
        for operation in Operation::ALL {
            for pages in PAGES {
                let found = instructions(results, flushing, operation, pages);
                let (Some((own, peer)), Some(reference)) = (found, ratio(flushing, operation, pages)) else { continue };
                out.add_row([
                    flushing.name().to_owned(),
                    operation.name().to_owned(),
                    pages.to_string(),
                    format!("{own:.1}"),
                    format!("{peer:.1}"),
                    format!("{:.3}", own / peer),
                    format!("{reference:.3}"),
                    format!("{:.0}", reference * peer),
                ]);
            }
        }
    }
    (out.row_count() > 0).then(|| text(&out))
}

/// How many figures vary with the place of the guest's memory, and which one most. `None` when none does.
pub fn variation(results: &Results) -> Option<String> {
    let by_name = results.variation.iter();
    let all: Vec<(f64, &String, &str)> =
        by_name.flat_map(|(name, v)| v.iter().map(move |(metric, by)| (by, name, metric))).collect();
    let (by, configuration, metric) = all.iter().max_by(|a, b| a.0.total_cmp(&b.0))?;
    let (count, percent) = (all.len(), 100.0 * by);
    Some(format!(
        "{count} figures vary by more than 0.5 % with the place of memory, most of all {configuration} {metric} \
         ({percent:.1} %): less than one and a half times that between two builds is no change"
    ))
}

/// The targets, with both numbers each.
pub fn targets(targets: &[&Target]) -> String {
    let mut out = table(&["", "target", "measured", "limit", "from"], 2);
    if let Some(column) = out.column_mut(4) {
        column.set_cell_alignment(CellAlignment::Left);
    }
    for target in targets {
        let word = match target.state() {
            State::Met => "MET",
            State::Missed => "MISSED",
            State::Unmeasured => "not measured",
        };
        out.add_row([word.to_owned(), target.what.clone(), target.measured(), target.limit(), target.detail.clone()]);
    }
    text(&out)
}

#[cfg(test)]
mod tests {
    use super::super::results::sample;
    use super::*;

    #[test]
    fn numbers_in_names_sort_as_numbers() {
        let mut names = ["dma/16p/map", "dma/4p/map", "dma/4p/calls", "boot/calls", "dma/99999999999999999999p"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["boot/calls", "dma/4p/calls", "dma/4p/map", "dma/16p/map", "dma/99999999999999999999p"]);
    }

    #[test]
    fn the_greatest_variation_is_named() {
        let mut results = sample(&[]);
        assert_eq!(variation(&results), None);
        for (name, text) in [("hv-strict", r#"{"a":0.01,"b":0.09}"#), ("none", r#"{"c":0.02}"#)] {
            results.variation.insert(name.to_owned(), serde_json::from_str(text).unwrap());
        }
        let line = variation(&results).unwrap();
        assert!(line.starts_with("3 figures vary") && line.contains("hv-strict b (9.0 %)"), "{line}");
    }

    #[test]
    fn figures_are_filtered_and_absent_ones_left_empty() {
        let results = sample(&[
            ("hv-strict", "dma/4p/map 10 instructions\nb/calls 1 calls"),
            ("none", "dma/4p/map 3.5 instructions"),
            ("hv-boot-8", "boot/calls 24 calls"),
        ]);
        let all = all_figures(&results, &[]);
        assert_eq!(all.len(), 2);
        let strict: Vec<Vec<&str>> = all[0].lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(strict[0], ["figure", "unit", "hv-strict", "none"]);
        assert_eq!(strict[1..], [vec!["b/calls", "calls", "1"], vec!["dma/4p/map", "instructions", "10", "3.500"]]);
        let filtered = all_figures(&results, &["b/".to_owned()]);
        assert_eq!(filtered.len(), 1);
        assert!(!filtered[0].contains("dma"));
    }

    #[test]
    fn every_target_tells_both_numbers() {
        let results = sample(&[("hv-strict", "flush/iotlb-sync 59 instructions\nflush/flush-all 31 instructions")]);
        let all = super::super::targets::targets(&results);
        let text = targets(&all.iter().collect::<Vec<_>>());
        let line = |start: &str| text.lines().find(|line| line.contains(start)).unwrap().to_owned();
        assert!(line("flush of one range").starts_with(" MET "));
        assert!(line("flush of one range").split("instructions").nth(1).unwrap().trim_start().starts_with("59 "));
        assert!(line("flush of one range").contains(" <= 60 "));
        assert!(line("flush of the domain").starts_with(" MISSED "));
        assert!(line("text of the driver").starts_with(" not measured "));
    }

    #[test]
    fn a_comparison_needs_both_drivers() {
        let own = ("hv-strict", "ktime/4p/map 1278 instructions");
        assert_eq!(comparison(&sample(&[own])), None);
        let text = comparison(&sample(&[own, ("intel-strict", "ktime/4p/map 1339 instructions")])).unwrap();
        let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["strict", "map", "4", "1278.0", "1339.0", "0.954", "0.954", "1277"]);
    }
}
