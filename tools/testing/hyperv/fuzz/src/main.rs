// SPDX-License-Identifier: GPL-2.0
//! hvfuzz: feeds [`fuzz_targets`] with inputs that reach more and more of them. `scripts/fuzz.sh` builds and starts it.

mod corpus;
mod coverage;
mod fuzzer;
mod mutate;

use std::io::{self, Write as _};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, fs};

use fuzz_targets::{Target, PLANTED, TARGETS};
use hvcore::hostile::random::Seed;

use fuzzer::{Fuzzer, Summary};

const USAGE: &str = "usage: hvfuzz run CORPUS WORK SECONDS JOBS    all targets
       hvfuzz minimize CORPUS WORK             what was found in WORK becomes the corpus
       hvfuzz reproduce TARGET FILE            the inputs of a file, one after the other";

/// Most bytes that the corpus of one target may have.
const CORPUS_BYTES: usize = 12 << 10;
/// How long the planted bug may stay unfound.
const PLANTED_TIME: Duration = Duration::from_secs(60);

fn file(directory: &Path, target: Target) -> PathBuf {
    directory.join(target.name).with_extension("hex")
}

fn seed() -> Seed {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_nanos() as u64);
    Seed(NonZeroU64::new(now).unwrap_or(NonZeroU64::MIN))
}

/// What a child process does: one target.
fn fuzz(target: Target, corpus: &Path, work: &Path, time: Duration) -> io::Result<Summary> {
    fuzzer::report_failures(work.join(format!("failed-{}.hex", target.name)));
    let mut fuzzer = Fuzzer::new(target, seed());
    let mut inputs = corpus::read(&file(corpus, target))?;
    inputs.extend(corpus::read(&file(work, target))?);
    fuzzer.take(inputs);
    let summary = fuzzer.run(time);
    corpus::write(&file(work, target), &fuzzer.minimized(usize::MAX))?;
    Ok(summary)
}

struct Job {
    target: Target,
    child: Child,
}

fn start(target: Target, corpus: &Path, work: &Path, time: Duration) -> io::Result<Job> {
    let failed = work.join(format!("failed-{}.hex", target.name));
    if failed.exists() {
        fs::remove_file(&failed)?;
    }
    let child = Command::new(env::current_exe()?)
        .arg("child")
        .arg(target.name)
        .args([corpus, work])
        .arg(time.as_secs_f64().to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    Ok(Job { target, child })
}

/// Waits for a target, and tells how it went; whether it did well.
fn finish(job: Job, work: &Path) -> io::Result<bool> {
    let name = job.target.name;
    let output = job.child.wait_with_output()?;
    if output.status.success() {
        print!("ok {name}: {}", String::from_utf8_lossy(&output.stdout));
        return Ok(true);
    }
    println!("not ok {name}: {}", output.status);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    for line in words.lines().take(20) {
        println!("  # {line}");
    }
    println!("  # input: {}", work.join(format!("failed-{name}.hex")).display());
    println!("  # again: scripts/fuzz.sh --reproduce {name} FILE");
    Ok(false)
}

/// The planted bug must be found: else that nothing else is found says nothing.
fn find_planted(work: &Path) -> io::Result<bool> {
    let nowhere = work.join("nowhere");
    let job = start(PLANTED, &nowhere, work, PLANTED_TIME)?;
    let output = job.child.wait_with_output()?;
    let found = output.status.code() == Some(fuzzer::FAILED)
        && String::from_utf8_lossy(&output.stderr).contains("the planted bug");
    match found {
        true => println!("ok planted: the planted bug was found"),
        false => println!("not ok planted: the planted bug was not found in {} s", PLANTED_TIME.as_secs()),
    }
    Ok(found)
}

fn run(corpus: &Path, work: &Path, seconds: f64, jobs: usize) -> io::Result<bool> {
    fs::create_dir_all(work)?;
    let (mut passed, mut failed) = (0, 0);
    let mut count = |well: bool| {
        let which = if well { &mut passed } else { &mut failed };
        *which += 1;
        io::stdout().flush()
    };
    count(find_planted(work)?)?;
    let rounds = TARGETS.len().div_ceil(jobs.max(1));
    let time = Duration::from_secs_f64(seconds / rounds as f64);
    for batch in TARGETS.chunks(jobs.max(1)) {
        let started: Vec<Job> =
            batch.iter().map(|&target| start(target, corpus, work, time)).collect::<io::Result<_>>()?;
        for job in started {
            count(finish(job, work)?)?;
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

fn minimize(corpus: &Path, work: &Path) -> io::Result<bool> {
    for &target in TARGETS {
        let mut fuzzer = Fuzzer::new(target, seed());
        let mut inputs = corpus::read(&file(corpus, target))?;
        inputs.extend(corpus::read(&file(work, target))?);
        fuzzer.take(inputs);
        let few = fuzzer.minimized(CORPUS_BYTES);
        println!("{}: {} inputs, {} bytes", target.name, few.len(), few.iter().map(Vec::len).sum::<usize>());
        corpus::write(&file(corpus, target), &few)?;
    }
    Ok(true)
}

fn reproduce(target: Target, path: &Path) -> io::Result<bool> {
    for input in corpus::read(path)? {
        println!("{}: {}", target.name, corpus::to_hex(&input));
        fuzzer::run_one(target, &input);
    }
    println!("nothing failed");
    Ok(true)
}

fn act(words: &[&str]) -> io::Result<bool> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("{what}\n{USAGE}"));
    let target = |name: &str| fuzz_targets::find(name).ok_or_else(|| bad(&format!("no target {name}")));
    let number = |text: &str| text.parse::<f64>().map_err(|_| bad(&format!("{text} is no number")));
    if coverage::places() == 0 {
        return Err(bad("built without coverage instrumentation: scripts/fuzz.sh builds it"));
    }
    match *words {
        ["run", corpus, work, seconds, jobs] => {
            run(Path::new(corpus), Path::new(work), number(seconds)?, number(jobs)? as usize)
        }
        ["minimize", corpus, work] => minimize(Path::new(corpus), Path::new(work)),
        ["reproduce", name, path] => reproduce(target(name)?, Path::new(path)),
        ["child", name, corpus, work, seconds] => {
            let time = Duration::from_secs_f64(number(seconds)?);
            let Summary { runs, reached, kept } = fuzz(target(name)?, Path::new(corpus), Path::new(work), time)?;
            println!("{runs} runs, {reached} of {} places, {kept} inputs", coverage::places());
            Ok(true)
        }
        _ => Err(bad("unknown command")),
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match act(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("hvfuzz: {error}");
            ExitCode::FAILURE
        }
    }
}
