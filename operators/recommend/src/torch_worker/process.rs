//! A worker process while it works: its lines, its end, and how it is stopped.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::torch_worker::messages::Event;
use towline_api::{Context, OperatorError, Result};

/// The line that asks the worker to stop.
pub(crate) const STOP: &str = "stop";
/// Between two looks at whether the run was interrupted.
const POLL: Duration = Duration::from_millis(50);
/// From asking the worker to stop to ending it: a step of training, and what is being written after it.
const GRACE: Duration = Duration::from_secs(10);
/// Lines of the standard error that an error quotes.
const QUOTED: usize = 8;

/// A worker; it is ended with this value.
pub(crate) struct WorkerProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: Option<JoinHandle<Vec<String>>>,
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        // Neither has an effect on a process that was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl WorkerProcess {
    /// Starts the program for the request in this file.
    pub(crate) fn start(program: &Path, request: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command
            .arg(request)
            .arg(std::process::id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // Ctrl-C reaches this program alone, which then asks the worker to stop.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(OperatorError::io(program))?;
        let (sender, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                let mut stdout = BufReader::new(stdout).lines().map_while(Result::ok);
                stdout.try_for_each(|line| sender.send(line))
            });
        }
        let errors = child.stderr.take();
        let errors = errors.map(|stderr| std::thread::spawn(move || last_lines(stderr)));
        Ok(WorkerProcess {
            stdin: child.stdin.take(),
            child,
            lines,
            errors,
        })
    }

    /// Passes progress on until the worker answers with something else.
    pub(crate) fn answer(mut self, context: &Context) -> Result<Event> {
        let mut asked: Option<Instant> = None;
        let mut answer = None;
        loop {
            match self.lines.recv_timeout(POLL) {
                // libtorch, too, may write to the standard output.
                Ok(line) => match serde_json::from_str(&line) {
                    Ok(Event::Begin { unit, total }) => context.progress.begin(&unit, total),
                    Ok(Event::Advance { count }) => context.progress.advance(count),
                    Ok(Event::Note { text }) => context.progress.note(&text),
                    Ok(event) => answer = Some(event),
                    Err(_) => {}
                },
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            match asked {
                None if context.cancel.is_cancelled() => {
                    asked = Some(Instant::now());
                    // A worker that is gone needs no word.
                    let _ = self.stdin.as_mut().map(|stdin| writeln!(stdin, "{STOP}"));
                }
                Some(since) if since.elapsed() > GRACE => break,
                _ => {}
            }
        }
        if asked.is_some() {
            context.cancel.check()?;
        }
        match answer {
            Some(Event::Failed { message }) => Err(OperatorError::invalid(message)),
            Some(event) => Ok(event),
            None => Err(self.ended()),
        }
    }

    /// The error of a worker that ended without an answer.
    fn ended(mut self) -> OperatorError {
        let status = self.child.wait();
        let errors = self.errors.take().and_then(|thread| thread.join().ok());
        let errors = errors.unwrap_or_default().join("\n");
        let status = status.as_ref().map_or_else(ToString::to_string, ExitStatus::to_string);
        let quoted = if errors.is_empty() {
            String::new()
        } else {
            format!(":\n{errors}")
        };
        OperatorError::invalid(format!("`towline-torch` ended without a result ({status}){quoted}"))
    }
}

/// The last lines of the standard error.
fn last_lines(stderr: impl Read) -> Vec<String> {
    let mut lines = std::collections::VecDeque::new();
    for line in BufReader::new(stderr).lines().map_while(std::io::Result::ok) {
        if lines.len() == QUOTED {
            lines.pop_front();
        }
        lines.push_back(line);
    }
    lines.into()
}
