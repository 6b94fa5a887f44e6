//! Processes that are told what to do line by line.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use closed_loop::Error;

/// A process that is ended with this value.
pub(crate) struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn start(program: &Path, arguments: &[&str]) -> Result<Self, Error> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let output = BufReader::new(child.stdout.take().ok_or("the output is not piped")?);
        Ok(Self { child, output })
    }

    /// This program in another role.
    pub(crate) fn role(arguments: &[&str]) -> Result<Self, Error> {
        Self::start(&std::env::current_exe()?, arguments)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it writes.
    pub(crate) fn line(&mut self) -> Result<String, Error> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.is_empty() {
            Err("a process ended early".into())
        } else {
            Ok(line.trim().to_owned())
        }
    }

    /// Writes a line, and reads one.
    pub(crate) fn tell(&mut self, line: &str) -> Result<String, Error> {
        let input = self.child.stdin.as_mut().ok_or("the input is not piped")?;
        writeln!(input, "{line}")?;
        self.line()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
