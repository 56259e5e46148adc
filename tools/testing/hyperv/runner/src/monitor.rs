// SPDX-License-Identifier: GPL-2.0
//! QEMU's monitor: what a guest does that says nothing any more is asked there before QEMU is ended, and what the guest
//! program asks of the machine is done there.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use hvprotocol::request::Request;
use serde_json::{json, Value};
use tempfile::TempDir;

/// How long QEMU may take for an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Between the two looks at the same guest: what differs is what moves.
const PAUSE: Duration = Duration::from_secs(1);

/// The way to QEMU's monitor.
pub struct Monitor {
    /// Not among the logs: the name of a socket has a hundred characters at most.
    directory: TempDir,
}

impl Monitor {
    /// Chooses a place for the socket; it goes with this object.
    ///
    /// # Errors
    /// When there is none.
    pub fn new() -> Result<Monitor> {
        let directory = tempfile::Builder::new().prefix("hvrun-").tempdir().context("a directory for the monitor")?;
        Ok(Monitor { directory })
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("qmp")
    }

    /// QEMU's arguments.
    pub fn arguments(&self) -> [String; 2] {
        ["-qmp".to_owned(), format!("unix:{},server=on,wait=off", self.socket().display())]
    }

    /// Starts a conversation.
    fn session(&self) -> Result<Session> {
        let stream = UnixStream::connect(self.socket()).context("connecting to QEMU's monitor")?;
        stream.set_read_timeout(Some(ANSWER)).context("the monitor's patience")?;
        let mut session = Session { reader: BufReader::new(stream.try_clone().context("the monitor")?), stream };
        let greeting = session.message()?;
        ensure!(greeting.get("QMP").is_some(), "QEMU greets with {greeting}");
        session.execute(&json!({ "execute": "qmp_capabilities" }))?;
        Ok(session)
    }

    /// Does what the guest program asks for.
    ///
    /// # Errors
    /// When QEMU does not answer, or refuses.
    pub fn fulfil(&self, request: Request) -> Result<()> {
        let command = match request {
            Request::Nmi => "inject-nmi",
        };
        self.session()?.execute(&json!({ "execute": command })).map(drop)
    }

    /// Looks twice at local APICs and registers of `cpus` processors.
    ///
    /// # Errors
    /// When QEMU does not answer, or with something else.
    pub fn look(&self, cpus: u32) -> Result<String> {
        let mut session = self.session()?;
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
    use std::os::unix::net::UnixListener;
    use std::thread;

    /// Asks something that answers each line with `answers`, in turn.
    fn ask<T>(answers: &'static [&'static str], question: impl FnOnce(&Monitor) -> Result<T>) -> Result<T> {
        let monitor = Monitor::new().unwrap();
        let listener = UnixListener::bind(monitor.socket()).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
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
        let result = question(&monitor);
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

    #[test]
    fn the_socket_has_a_short_name() {
        assert!(Monitor::new().unwrap().socket().display().to_string().len() < 100);
    }
}
