//! What happens when a human must look: a loud block, syslog, and a program of the operator's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use slotd::log_sink::{LogTo, Severity, Sink};

use crate::executable::Executable;
use crate::observer::Observer;
use crate::two_phase::Failure;

/// How long the operator's program may take.
const PROGRAM_LIMIT: Duration = Duration::from_secs(30);
const RULE: &str = "***************************************************************************";

/// Where alerts go besides the observer.
#[derive(Clone, Debug, Default)]
pub struct Alerts {
    /// A program; the mailbox and the reason are in its environment.
    pub on_alert: Option<Executable>,
    /// Send a line to syslog.
    pub syslog: bool,
    /// The command that tries again, for the text: `controller recover --master ...`.
    pub recover: String,
}

/// What was said once in this invocation and need not be said again.
#[derive(Debug, Default)]
pub(super) struct Alerted {
    block: AtomicBool,
    no_syslog: AtomicBool,
}

impl Alerts {
    /// Raises an alert for a mailbox in doubt: the first time with all that there is to say.
    pub(super) async fn raise(
        &self,
        mailbox: &str,
        failure: &Failure,
        alerted: &Alerted,
        observer: &dyn Observer,
    ) {
        let line = format!("IN DOUBT: {mailbox}: {failure}");
        if alerted.block.swap(true, Ordering::Relaxed) {
            observer.alarm(&format!("*** also {line}"));
        } else {
            observer.alarm(&self.block(mailbox, failure));
        }
        if self.syslog
            && let Err(error) = syslog(&line)
            && !alerted.no_syslog.swap(true, Ordering::Relaxed)
        {
            observer.say(&format!("(no syslog here: {error})"));
        }
        if let Some(program) = &self.on_alert
            && let Err(text) = run_program(program, mailbox, failure, &line).await
        {
            observer.say(&format!("--on-alert {program}: {text}"));
        }
    }

    fn block(&self, mailbox: &str, failure: &Failure) -> String {
        let again = if self.recover.is_empty() {
            "controller recover"
        } else {
            &self.recover
        };
        format!(
            "{RULE}\n\
             IN DOUBT: {mailbox}\n\
             {failure}\n\
             \n\
             This mailbox was to be changed on both hosts, and it could not be shown that both\n\
             are alike now: one may have its new files and the other its old ones. No mail is \
             lost,\n\
             and neither host has a torn file. But replication may copy the whole mailbox again.\n\
             \n\
             What to do:\n\
             1. Keep replication away from this mailbox.\n\
             2. See that both slotds run and that their partitions are mounted.\n\
             3. Run: {again}\n\
             4. If it stays in doubt, the reason above says which file of which host to repair.\n\
             {RULE}"
        )
    }
}

fn syslog(line: &str) -> std::io::Result<()> {
    let sink = Sink::open(LogTo::Syslog, "reguid")?;
    sink.map_or(Ok(()), |sink| sink.send(Severity::Critical, line))
}

async fn run_program(
    program: &Executable,
    mailbox: &str,
    failure: &Failure,
    line: &str,
) -> Result<(), String> {
    let side = failure.side.map_or("", crate::two_phase::Side::as_str);
    let environment = [
        ("REGUID_MAILBOX", mailbox),
        ("REGUID_REASON", failure.reason.as_str()),
        ("REGUID_SIDE", side),
        ("REGUID_TEXT", line),
    ];
    match program.run(&environment, PROGRAM_LIMIT).await {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(format!("ended with {status}")),
        Ok(None) => Err(format!(
            "did not end within {PROGRAM_LIMIT:?} and was killed"
        )),
        Err(error) => Err(error.to_string()),
    }
}
