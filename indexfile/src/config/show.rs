//! What counts, and where it is from, as text and as JSON.

use std::ffi::OsString;
use std::fmt::Write as _;

use super::Program;
use super::options::Chain;
use super::resolve::Given;
use super::setting::{Origin, default_of};

/// `config`.
#[derive(Clone, Debug, clap::Args)]
pub struct ShowArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: ShowVerb,
}

/// What can be done with a configuration.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum ShowVerb {
    /// Show every option, its value, and where that is from: default, file and line, environment,
    /// command line.
    Show {
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
        /// A command with arguments, which is not run: its options only. Without it, those of all
        /// commands.
        #[arg(
            value_name = "COMMAND",
            trailing_var_arg = true,
            allow_hyphen_values = true
        )]
        command: Vec<OsString>,
    },
}

/// An option with one value, for the commands that have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The long name of the option.
    pub option: String,
    /// Its value, without a password; `None` if it has none.
    pub value: Option<String>,
    /// Where that is from.
    pub origin: Origin,
    /// The commands for which it is so.
    pub commands: Vec<String>,
}

/// Adds the options of one command.
pub(super) fn add(
    program: &Program,
    name: &str,
    chain: &Chain<'_>,
    given: &[Given<'_>],
    rows: &mut Vec<Row>,
) {
    for (_, arg) in chain.options() {
        let Some(option) = arg.get_long() else {
            continue;
        };
        let switch = !arg.get_action().takes_values();
        let (value, origin) = match given.iter().find(|given| given.arg == arg) {
            Some(one) if switch && one.origin == Origin::CommandLine => {
                (Some("true".to_owned()), one.origin.clone())
            }
            Some(one) => (Some(one.value.shown()), one.origin.clone()),
            None if switch => (Some("false".to_owned()), Origin::Default),
            None => {
                let value = default_of(arg);
                ((!value.is_empty()).then_some(value), Origin::Default)
            }
        };
        let value = value.map(|value| (program.shown)(&value));
        let same =
            |row: &&mut Row| row.option == option && row.value == value && row.origin == origin;
        match rows.iter_mut().find(same) {
            Some(row) => row.commands.push(name.to_owned()),
            None => rows.push(Row {
                option: option.to_owned(),
                value,
                origin,
                commands: vec![name.to_owned()],
            }),
        }
    }
}

/// The rows for a person, or as JSON.
pub(super) fn text(rows: &[Row], json: bool) -> String {
    if json {
        let rows: Vec<_> = rows.iter().map(Row::json).collect();
        return format!("{:#}\n", serde_json::Value::from(rows));
    }
    let mut rows: Vec<&Row> = rows.iter().collect();
    rows.sort_by_key(|row| &row.option);
    let value = |row: &Row| row.value.clone().unwrap_or_else(|| "-".to_owned());
    let origin = |row: &Row| row.origin.to_string();
    let width = |of: &dyn Fn(&Row) -> String| rows.iter().map(|row| of(row).len()).max();
    let widths = [
        width(&|row| row.option.clone()).unwrap_or(0),
        width(&value).unwrap_or(0).min(32),
        width(&origin).unwrap_or(0).min(40),
    ];
    let mut out = String::new();
    for (at, row) in rows.iter().enumerate() {
        let alike = |other: &&Row| other.option == row.option;
        let several = rows.iter().filter(|other| alike(other)).count() > 1;
        let commands = if several {
            row.commands.join(", ")
        } else {
            String::new()
        };
        let first = at == 0 || !alike(&rows[at - 1]);
        let option = if first { row.option.as_str() } else { "" };
        let line = format!(
            "{option:0$}  {1:2$}  {3:4$}  {commands}",
            widths[0],
            value(row),
            widths[1],
            origin(row),
            widths[2],
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

impl Row {
    fn json(&self) -> serde_json::Value {
        let mut row = serde_json::json!({
            "option": self.option,
            "value": self.value,
            "commands": self.commands,
        });
        let from = match &self.origin {
            Origin::Default => "default",
            Origin::File { path, line } => {
                row["file"] = path.display().to_string().into();
                row["line"] = (*line).into();
                "file"
            }
            Origin::Environment { variable } => {
                row["variable"] = variable.as_str().into();
                "environment"
            }
            Origin::CommandLine => "command line",
        };
        row["from"] = from.into();
        row
    }
}
