// SPDX-License-Identifier: GPL-2.0
//! The page itself.

use std::collections::BTreeMap;

use maud::{html, Markup, PreEscaped, DOCTYPE};

use super::input::{Attack, Input, Mutant, Right};
use super::window;
use crate::ledger::{Entry, Verdict};

const STYLE: &str = include_str!("style.css");
/// The licence of the page. In two pieces, or checkers take it for this file's.
const LICENSE: &str = concat!("<!-- SPD", "X-License-Identifier: GPL-2.0 -->");

/// A number with what it counts; bad when it should be 0 and is not.
fn tile(count: usize, of: usize, what: &str) -> Markup {
    html! {
        div.tile {
            b class=(if count == of { "good" } else { "bad" }) { (count) " / " (of) }
            (what)
        }
    }
}

fn word(is_right: bool, text: &str) -> Markup {
    html! { span class=(if is_right { "good" } else { "bad" }) { (text) } }
}

/// Whether there is a result.
fn was_run(case: &Entry) -> bool {
    case.verdict != Verdict::Unrun
}

/// How a case ended, and why it was not run.
fn ending(case: &Entry) -> String {
    match case.verdict {
        Verdict::Passed => "passed".to_owned(),
        Verdict::Failed => "failed".to_owned(),
        Verdict::Kept => "passed earlier".to_owned(),
        Verdict::Unrun => format!("not run: {}", case.reason),
    }
}

/// Consecutive cases of a suite, in the order of the ledger.
fn suites(cases: &[Entry]) -> Vec<(&str, Vec<&Entry>)> {
    let mut suites: Vec<(&str, Vec<&Entry>)> = Vec::new();
    for case in cases {
        match suites.iter_mut().find(|(name, _)| *name == case.suite) {
            Some((_, cases)) => cases.push(case),
            None => suites.push((&case.suite, vec![case])),
        }
    }
    suites
}

fn ledger(cases: &[Entry]) -> Markup {
    html! {
        h2 { "Boots" }
        @for (suite, cases) in suites(cases) {
            @let passed = cases.iter().filter(|case| case.passed()).count();
            @let run = cases.iter().filter(|case| was_run(case)).count();
            details open[passed < run] {
                summary {
                    (suite) ": " (word(passed == run, &format!("{passed} of {run} passed")))
                    @if run < cases.len() { (format!(", {} not run", cases.len() - run)) }
                    (format!(", {:.0} s", cases.iter().map(|case| case.seconds).sum::<f64>()))
                }
                table {
                    @for case in cases {
                        tr {
                            td { (case.name)
                                @if !case.complaints.is_empty() {
                                    ul { @for complaint in &case.complaints { li { (complaint) } } }
                                }
                            }
                            td { @if was_run(case) { (word(case.passed(), &ending(case))) } @else { (ending(case)) } }
                            td.number.wide { (format!("{:.1} s", case.seconds)) }
                        }
                    }
                }
            }
        }
    }
}

fn is_right(attack: &Attack) -> bool {
    attack.verdict == Right::Yes
}

fn attacks(attacks: &[Attack]) -> Markup {
    let mut boots: BTreeMap<&str, Vec<&Attack>> = BTreeMap::new();
    for attack in attacks {
        boots.entry(&attack.boot).or_default().push(attack);
    }
    html! {
        h2 { "Attacks" }
        p { "A device was told to read or write where it must not, or where it may. Right is what the documentation says." }
        @for (boot, attacks) in boots {
            @let right = attacks.iter().filter(|attack| is_right(attack)).count();
            details open[right < attacks.len()] {
                summary { (boot) ": " (word(right == attacks.len(), &format!("{right} of {} right", attacks.len()))) }
                table {
                    tr { th { "attack" } th { "right" } th { "seen" } th.wide { "bytes, fault" } }
                    @for attack in attacks {
                        tr {
                            td { (attack.id) }
                            td { (attack.expected) }
                            td { (word(is_right(attack), &attack.got)) }
                            td.wide { (attack.detail) }
                        }
                    }
                }
            }
        }
    }
}

fn matrix(cells: &BTreeMap<String, (usize, usize)>) -> Markup {
    html! {
        h2 { "Hypercalls that fail" }
        table {
            tr { th { "boot" } th.number { "right" } th.number { "wrong" } }
            @for (boot, (right, wrong)) in cells {
                tr { td { (boot) } td.number { (right) } td.number { (word(*wrong == 0, &wrong.to_string())) } }
            }
        }
    }
}

fn windows(windows: &BTreeMap<String, Vec<u64>>) -> Markup {
    html! {
        h2 { "The deferred window" }
        p { "With deferred flushing, a device can use an address for some time after it was unmapped. Each bar is a transfer that reached memory: microseconds of the guest since the unmap." }
        @for (boot, samples) in windows {
            p { (boot) }
            (window::chart(samples))
        }
    }
}

fn mutants(mutants: &[Mutant]) -> Markup {
    let mut kinds: BTreeMap<&str, Vec<&Mutant>> = BTreeMap::new();
    for mutant in mutants {
        kinds.entry(&mutant.kind).or_default().push(mutant);
    }
    html! {
        h2 { "Mutants" }
        p { "Each breaks one thing on purpose. A test has to notice." }
        @for (kind, mutants) in kinds {
            @let noticed = mutants.iter().filter(|mutant| mutant.is_noticed()).count();
            details open[noticed < mutants.len()] {
                summary { (kind) ": " (word(noticed == mutants.len(), &format!("{noticed} of {} noticed", mutants.len()))) }
                table {
                    @for mutant in mutants {
                        tr {
                            td { (mutant.name) @if !mutant.breaks.is_empty() { br; small { (mutant.breaks) } } }
                            td { (word(mutant.is_noticed(), if mutant.is_noticed() { &mutant.noticed_by } else { &mutant.status })) }
                        }
                    }
                }
            }
        }
    }
}

/// The whole page.
pub fn page(input: &Input) -> Markup {
    let cases = &input.ledger.cases;
    let (right, wrong) = input.cells.values().fold((0, 0), |(r, w), (right, wrong)| (r + right, w + wrong));
    html! {
        (DOCTYPE)
        (PreEscaped(LICENSE))
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Hyper-V para-virtualized IOMMU: test report" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Hyper-V para-virtualized IOMMU: test report" }
                div.tiles {
                    @if !cases.is_empty() {
                        @let run = cases.iter().filter(|case| was_run(case)).count();
                        (tile(cases.iter().filter(|case| case.passed()).count(), run, "boots passed"))
                    }
                    @if !input.attacks.is_empty() {
                        (tile(input.attacks.iter().filter(|a| is_right(a)).count(), input.attacks.len(), "attacks right"))
                    }
                    @if !input.cells.is_empty() { (tile(right, right + wrong, "failing hypercalls right")) }
                    @if !input.mutants.is_empty() {
                        (tile(input.mutants.iter().filter(|m| m.is_noticed()).count(), input.mutants.len(), "mutants noticed"))
                    }
                }
                @if !cases.is_empty() { (ledger(cases)) }
                @if !input.attacks.is_empty() { (attacks(&input.attacks)) }
                @if !input.windows.is_empty() { (windows(&input.windows)) }
                @if !input.cells.is_empty() { (matrix(&input.cells)) }
                @if !input.mutants.is_empty() { (mutants(&input.mutants)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;

    fn case(suite: &str, name: &str, verdict: Verdict) -> Entry {
        let complaints = match verdict {
            Verdict::Failed => vec!["<b> is \"wrong\"".to_owned()],
            _ => Vec::new(),
        };
        Entry { verdict, complaints, ..Entry::unrun(suite, name, "no kernel") }
    }

    #[test]
    fn what_failed_is_open_and_escaped() {
        let cases =
            [("boot", "dma", Verdict::Passed), ("ats", "strict", Verdict::Failed), ("boot", "pt", Verdict::Kept)];
        let cases = cases.map(|(suite, name, verdict)| case(suite, name, verdict)).to_vec();
        let text = page(&Input { ledger: Ledger { cases, ..Ledger::default() }, ..Input::default() }).into_string();
        assert!(text.contains("2 / 3") && text.contains("boot: <span class=\"good\">2 of 2 passed"), "{text}");
        assert_eq!(text.matches("<details open").count(), 1);
        assert!(text.contains("&lt;b&gt; is") && !text.contains("<b> is"));
        assert!(!text.contains("Mutants") && !text.contains("Attacks"));
    }

    #[test]
    fn the_page_needs_nothing_else() {
        let text = page(&Input::default()).into_string();
        assert!(text.contains("name=\"viewport\""));
        for outside in ["http:", "https:", "src=", "<link", "<script", "@import", "url("] {
            assert!(!text.contains(outside), "{outside}");
        }
    }

    #[test]
    fn what_was_not_run_neither_passed_nor_failed() {
        let cases = vec![case("boot", "dma", Verdict::Unrun), case("boot", "pt", Verdict::Passed)];
        let text = page(&Input { ledger: Ledger { cases, ..Ledger::default() }, ..Input::default() }).into_string();
        assert!(text.contains("1 / 1") && text.contains("1 not run") && text.contains("not run: no kernel"), "{text}");
    }

    #[test]
    fn an_attack_is_as_right_as_the_guest_says() {
        let attack = |verdict| Attack {
            boot: String::new(),
            id: String::new(),
            expected: "reaches".to_owned(),
            got: "nothing".to_owned(),
            verdict,
            detail: String::new(),
        };
        let text =
            page(&Input { attacks: vec![attack(Right::Yes), attack(Right::No)], ..Input::default() }).into_string();
        assert!(text.contains("1 / 2"), "{text}");
        assert!(
            text.contains("<span class=\"good\">nothing") && text.contains("<span class=\"bad\">nothing"),
            "{text}"
        );
    }
}
