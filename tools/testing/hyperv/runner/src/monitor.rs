// SPDX-License-Identifier: GPL-2.0
//! QEMU's monitor: what a guest does that says nothing any more is asked there before QEMU is ended, and what the guest
//! program asks of the machine is done there.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use hvprotocol::request::Request;
use nix::libc;
use serde_json::{json, Value};

/// How long QEMU may take for an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Between the two looks at the same guest: what differs is what moves.
const PAUSE: Duration = Duration::from_secs(1);

/// The way to QEMU's monitor: a pair of sockets, one end of which QEMU is started with. Nothing of it is in a file system.
pub struct Monitor {
    /// This end, until there is a conversation.
    own: Option<UnixStream>,
    /// QEMU's end, until QEMU has it.
    other: Option<UnixStream>,
    /// The conversation, once there was something to ask.
    session: Option<Session>,
}

impl Monitor {
    /// Makes the pair.
    ///
    /// # Errors
    /// When the kernel has no room for it.
    pub fn new() -> Result<Monitor> {
        let (own, other) = UnixStream::pair().context("sockets for the monitor")?;
        Ok(Monitor { own: Some(own), other: Some(other), session: None })
    }

    /// Has QEMU inherit its end: adds what `command` needs for that.
    pub fn give_to(&self, command: &mut Command) {
        let Some(fd) = self.other.as_ref().map(AsRawFd::as_raw_fd) else { return };
        command.args(["-chardev", &format!("socket,id=monitor,fd={fd}"), "-mon", "chardev=monitor,mode=control"]);
        // SAFETY: fcntl is async-signal-safe; nothing is allocated between fork and exec. The number is that of a socket
        // which stays open until `is_given`, so that the child has it under the same number.
        unsafe {
            command.pre_exec(move || {
                // Cleared in the child alone: other guests are started at the same time and must not inherit it.
                match libc::fcntl(fd, libc::F_SETFD, 0) {
                    -1 => Err(std::io::Error::last_os_error()),
                    _ => Ok(()),
                }
            });
        }
    }

    /// QEMU was started: its end is its own now, so that the end of QEMU is the end of the conversation.
    pub fn is_given(&mut self) {
        self.other = None;
    }

    /// The conversation, begun if need be.
    fn session(&mut self) -> Result<&mut Session> {
        if let Some(stream) = self.own.take() {
            self.session = Some(Session::begin(stream)?);
        }
        self.session.as_mut().context("QEMU's monitor did not greet")
    }

    /// Does what the guest program asks for.
    ///
    /// # Errors
    /// When QEMU does not answer, or refuses.
    pub fn fulfil(&mut self, request: Request) -> Result<()> {
        let command = match request {
            Request::Nmi => "inject-nmi",
        };
        self.session()?.execute(&json!({ "execute": command })).map(drop)
    }

    /// Looks twice at local APICs and registers of `cpus` processors.
    ///
    /// # Errors
    /// When QEMU does not answer, or with something else.
    pub fn look(&mut self, cpus: u32) -> Result<String> {
        let session = self.session()?;
        let mut text = String::new();
        for look in 1..=2 {
            if look > 1 {
                std::thread::sleep(PAUSE);
            }
            for command in (0..cpus).map(|cpu| format!("info lapic {cpu}")).chain(["info registers -a".to_owned()]) {
                let request = json!({ "execute": "human-monitor-command", "arguments": { "command-line": command } });
                let answer = session.execute(&request)?;
                let answer = answer.as_str().context("no text")?.replace('\r', "");
                // Writing to a string does not fail.
                let _ = writeln!(text, "# look {look}: {command}\n{answer}");
            }
        }
        Ok(text)
    }
}

/// A conversation: one JSON value per line.
struct Session {
    reader: BufReader<UnixStream>,
    stream: UnixStream,
}

impl Session {
    fn begin(stream: UnixStream) -> Result<Session> {
        stream.set_read_timeout(Some(ANSWER)).context("the monitor's patience")?;
        let mut session = Session { reader: BufReader::new(stream.try_clone().context("the monitor")?), stream };
        let greeting = session.message()?;
        ensure!(greeting.get("QMP").is_some(), "QEMU greets with {greeting}");
        session.execute(&json!({ "execute": "qmp_capabilities" }))?;
        Ok(session)
    }

    fn message(&mut self) -> Result<Value> {
        let mut line = String::new();
        ensure!(self.reader.read_line(&mut line).context("reading from QEMU's monitor")? > 0, "QEMU hung up");
        serde_json::from_str(&line).with_context(|| format!("QEMU said {line:?}"))
    }

    /// The answer to a command. What QEMU reports in between is left out.
    fn execute(&mut self, command: &Value) -> Result<Value> {
        writeln!(self.stream, "{command}").context("writing to QEMU's monitor")?;
        loop {
            let mut message = self.message()?;
            if let Some(error) = message.get("error") {
                bail!("QEMU refuses {command}: {error}");
            }
            if let Some(answer) = message.get_mut("return") {
                return Ok(answer.take());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::thread;

    /// Asks something that answers each line with `answers`, in turn.
    fn ask<T>(answers: &'static [&'static str], question: impl FnOnce(&mut Monitor) -> Result<T>) -> Result<T> {
        let mut monitor = Monitor::new().unwrap();
        let mut stream = monitor.other.take().unwrap();
        let server = thread::spawn(move || {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            writeln!(stream, r#"{{"QMP": {{"version": {{}}}}}}"#).unwrap();
            for answer in answers {
                if lines.next().is_none() {
                    return;
                }
                writeln!(stream, "{answer}").unwrap();
            }
            // Hangs up on the next command, or when there is none.
            lines.next();
        });
        let result = question(&mut monitor);
        drop(monitor);
        server.join().unwrap();
        result
    }

    fn look_at(answers: &'static [&'static str]) -> Result<String> {
        ask(answers, |monitor| monitor.look(1))
    }

    #[test]
    fn both_looks_are_told_and_events_are_not() {
        const EVENT: &str = "{\"event\": \"STOP\"}\n{\"return\": \"halted\\r\\n\"}";
        let text = look_at(&[
            r#"{"return": {}}"#,
            r#"{"return": "ISR (none)\r\n"}"#,
            EVENT,
            r#"{"return": "ISR 33\r\n"}"#,
            r#"{"return": "running\r\n"}"#,
        ]);
        assert_eq!(
            text.unwrap(),
            "# look 1: info lapic 0\nISR (none)\n\n# look 1: info registers -a\nhalted\n\n\
             # look 2: info lapic 0\nISR 33\n\n# look 2: info registers -a\nrunning\n\n"
        );
    }

    #[test]
    fn a_refusal_is_told() {
        let error = look_at(&[r#"{"return": {}}"#, r#"{"error": {"class": "CommandNotFound"}}"#]).unwrap_err();
        assert!(error.to_string().contains("CommandNotFound"), "{error}");
    }

    #[test]
    fn what_is_asked_for_is_done_or_refused() {
        const DONE: &str = r#"{"return": {}}"#;
        ask(&[DONE, DONE], |monitor| monitor.fulfil(Request::Nmi)).unwrap();
        let refused = &[DONE, r#"{"error": {"class": "GenericError"}}"#];
        let error = ask(refused, |monitor| monitor.fulfil(Request::Nmi)).unwrap_err();
        assert!(error.to_string().contains("inject-nmi"), "{error}");
    }

    #[test]
    fn the_end_of_the_conversation_is_told() {
        assert_eq!(look_at(&[]).unwrap_err().to_string(), "QEMU hung up");
    }

    /// One request after another is one conversation: QEMU greets once.
    #[test]
    fn the_second_request_goes_on_with_the_conversation() {
        const DONE: &str = r#"{"return": {}}"#;
        ask(&[DONE, DONE, DONE], |monitor| {
            monitor.fulfil(Request::Nmi)?;
            monitor.fulfil(Request::Nmi)
        })
        .unwrap();
    }

    /// The child has the socket under the number that it is told, and this process keeps no copy of that end.
    #[test]
    fn the_other_end_is_inherited() {
        let mut monitor = Monitor::new().unwrap();
        let mut command = Command::new("bash");
        command.args(["-c", r#"number=${1##*fd=}; echo said >&$number"#]);
        monitor.give_to(&mut command);
        // $0 is the first word that the monitor adds.
        assert!(command.status().unwrap().success());
        monitor.is_given();
        let mut text = String::new();
        monitor.own.take().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "said\n");
    }
}
