// SPDX-License-Identifier: GPL-2.0
//! fio jobs on the NVMe namespace, every block verified by checksum.

use std::path::Path;
use std::process::Command;

use anyhow::{bail, Context, Result};
use serde_json::Value;

/// One job: all of it written, then read back and verified.
#[derive(Clone, Copy, Debug)]
struct Job {
    name: &'static str,
    /// fio's `rw`.
    pattern: &'static str,
    /// Block size in bytes.
    block: u64,
    /// Requests in flight.
    depth: u32,
    /// Bytes.
    size: u64,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Small enough for software emulation, wide enough for every kind of mapping: single pages to 256 of them.
const JOBS: [Job; 8] = [
    Job { name: "rand-4k-qd1", pattern: "randwrite", block: 4 * KIB, depth: 1, size: MIB },
    Job { name: "rand-4k-qd32", pattern: "randwrite", block: 4 * KIB, depth: 32, size: 4 * MIB },
    Job { name: "rand-16k-qd8", pattern: "randwrite", block: 16 * KIB, depth: 8, size: 4 * MIB },
    Job { name: "seq-64k-qd4", pattern: "write", block: 64 * KIB, depth: 4, size: 8 * MIB },
    Job { name: "rand-128k-qd16", pattern: "randwrite", block: 128 * KIB, depth: 16, size: 8 * MIB },
    Job { name: "seq-1m-qd1", pattern: "write", block: MIB, depth: 1, size: 8 * MIB },
    Job { name: "seq-1m-qd4", pattern: "write", block: MIB, depth: 4, size: 16 * MIB },
    Job { name: "mixed-4k-qd32", pattern: "randrw", block: 4 * KIB, depth: 32, size: 4 * MIB },
];

/// What fio reports for one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobResult {
    /// The job's name.
    pub name: String,
    /// First errno, 0 when none.
    pub error: i64,
    /// Failed I/Os.
    pub failures: u64,
    /// Bytes read (the verification).
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
}

/// How fio hands its requests to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    /// io_setup and friends.
    LibAio,
    /// io_uring.
    IoUring,
}

impl Engine {
    /// The first engine with a real queue that the kernel has.
    fn detect() -> Result<Engine> {
        if Path::new("/proc/sys/fs/aio-nr").exists() {
            Ok(Engine::LibAio)
        } else if Path::new("/proc/sys/kernel/io_uring_disabled").exists() {
            Ok(Engine::IoUring)
        } else {
            bail!("the kernel has neither CONFIG_AIO nor CONFIG_IO_URING: no queue depth above 1")
        }
    }

    fn name(self) -> &'static str {
        match self {
            Engine::LibAio => "libaio",
            Engine::IoUring => "io_uring",
        }
    }
}

fn arguments(device: &Path, engine: Engine) -> Vec<String> {
    let global = [
        "--output-format=json".to_owned(),
        "--thread".to_owned(),
        "--direct=1".to_owned(),
        format!("--ioengine={}", engine.name()),
        format!("--filename={}", device.display()),
        "--verify=crc32c".to_owned(),
        "--verify_fatal=1".to_owned(),
        "--do_verify=1".to_owned(),
        "--verify_state_save=0".to_owned(),
        "--randrepeat=1".to_owned(),
        "--group_reporting=0".to_owned(),
    ];
    let mut offset = 0;
    let jobs = JOBS.iter().flat_map(|job| {
        let at = offset;
        offset += job.size;
        [
            format!("--name={}", job.name),
            "--stonewall".to_owned(),
            format!("--rw={}", job.pattern),
            format!("--bs={}", job.block),
            format!("--iodepth={}", job.depth),
            format!("--size={}", job.size),
            format!("--offset={at}"),
        ]
    });
    global.into_iter().chain(jobs).collect()
}

fn parse(json: &str) -> Result<Vec<JobResult>> {
    // fio may print warnings before the JSON document.
    let start = json.find('{').context("fio printed no JSON")?;
    let document: Value = serde_json::from_str(&json[start..]).context("fio's JSON")?;
    let jobs = document.get("jobs").and_then(Value::as_array).context("fio's JSON has no jobs")?;
    let parse_job = |job: &Value| -> Option<JobResult> {
        Some(JobResult {
            name: job.get("jobname")?.as_str()?.to_owned(),
            error: job.get("error")?.as_i64()?,
            failures: job.get("total_err").and_then(Value::as_u64).unwrap_or(0),
            read_bytes: job.get("read")?.get("io_bytes")?.as_u64()?,
            written_bytes: job.get("write")?.get("io_bytes")?.as_u64()?,
        })
    };
    jobs.iter().map(|job| parse_job(job).context("a job in fio's JSON lacks a field")).collect()
}

/// What must hold of a job that verified all it wrote.
fn judge(job: &Job, result: &JobResult) -> Result<()> {
    if result.error != 0 || result.failures != 0 {
        bail!("{}: error {}, {} failed I/Os", job.name, result.error, result.failures);
    }
    if result.written_bytes == 0 || result.read_bytes < result.written_bytes {
        bail!("{}: {} bytes written, only {} read back", job.name, result.written_bytes, result.read_bytes);
    }
    Ok(())
}

/// Runs all jobs on a block device, whose content is lost.
///
/// # Errors
/// When fio is missing or says no, or a job did not verify all it wrote.
pub fn run(device: &Path) -> Result<Vec<JobResult>> {
    let engine = Engine::detect()?;
    let out =
        Command::new("/usr/bin/fio").args(arguments(device, engine)).current_dir("/tmp").output().context("fio")?;
    let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    if !out.status.success() {
        let words = if stderr.trim().is_empty() { stdout } else { stderr };
        bail!("fio ({}): {}: {}", engine.name(), out.status, words.trim().chars().take(400).collect::<String>());
    }
    let results = parse(&stdout)?;
    if results.len() != JOBS.len() {
        bail!("fio reports {} jobs instead of {}", results.len(), JOBS.len());
    }
    for (job, result) in JOBS.iter().zip(&results) {
        judge(job, result)?;
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"fio: a warning
{"fio version": "fio-3.33", "jobs": [{"jobname": "rand-4k-qd1", "error": 0, "total_err": 0,
 "read": {"io_bytes": 1048576}, "write": {"io_bytes": 1048576}}]}"#;

    #[test]
    fn json_is_read_and_judged() {
        let results = parse(SAMPLE).unwrap();
        assert_eq!(results[0].name, "rand-4k-qd1");
        assert!(judge(&JOBS[0], &results[0]).is_ok());
        let short = JobResult { read_bytes: 4096, ..results[0].clone() };
        assert!(judge(&JOBS[0], &short).is_err());
        let broken = JobResult { error: 84, ..results[0].clone() };
        assert!(judge(&JOBS[0], &broken).is_err());
    }

    #[test]
    fn incomplete_json_is_refused() {
        assert!(parse("fio: shmget: Function not implemented").is_err());
        assert!(parse(r#"{"jobs": [{"jobname": "x"}]}"#).is_err());
    }

    #[test]
    fn jobs_do_not_overlap() {
        let arguments = arguments(Path::new("/dev/null"), Engine::LibAio);
        let offsets: Vec<u64> =
            arguments.iter().filter_map(|a| a.strip_prefix("--offset=")).map(|v| v.parse().unwrap()).collect();
        assert!(offsets.windows(2).zip(&JOBS).all(|(w, job)| w[1] == w[0] + job.size));
    }
}
