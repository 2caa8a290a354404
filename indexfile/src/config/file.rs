//! The configuration file: options by their long names, those of one command in a table of its
//! name.
//!
//! It says what is given, and where; whether that makes sense is asked later, of the options
//! themselves.

use std::ffi::OsString;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::setting::{Origin, Setting, Value};
use crate::dir::{OpenError, limit, read_named};

/// What a file says. One that is not `wanted` may be absent.
pub(super) fn read(path: &Path, wanted: bool) -> Result<Vec<Setting>, ConfigError> {
    let bytes = match read_named(path, limit::CONF) {
        Err(OpenError::Missing { .. }) if !wanted => return Ok(Vec::new()),
        bytes => bytes?,
    };
    let text = String::from_utf8(bytes).map_err(|error| ConfigError::Syntax {
        path: path.to_path_buf(),
        line: line_at(error.as_bytes(), error.utf8_error().valid_up_to()),
        text: "it is no UTF-8".to_owned(),
    })?;
    parse(path, &text)
}

/// The same, of a text.
pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<Setting>, ConfigError> {
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        path: path.to_path_buf(),
        line: line_at(text.as_bytes(), error.span().map_or(0, |span| span.start)),
        text: error.message().to_owned(),
    })?;
    let mut settings = Vec::new();
    let file = File { path, text };
    file.table(&[], table.get_ref(), &mut settings)?;
    Ok(settings)
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn table(
        &self,
        scope: &[String],
        table: &DeTable<'_>,
        out: &mut Vec<Setting>,
    ) -> Result<(), ConfigError> {
        for (key, value) in table {
            let (option, origin) = (key.get_ref().to_string(), self.origin(key.span()));
            if let DeValue::Table(inner) = value.get_ref() {
                self.table(&[scope, &[option]].concat(), inner, out)?;
                continue;
            }
            let value = value_of(value).map_err(|text| ConfigError::Setting {
                text: format!("{option}: {text}"),
                origin: origin.clone(),
            })?;
            out.push(Setting {
                scope: scope.to_vec(),
                option,
                value,
                origin,
            });
        }
        Ok(())
    }

    fn origin(&self, span: Range<usize>) -> Origin {
        Origin::File {
            path: self.path.to_path_buf(),
            line: line_at(self.text.as_bytes(), span.start),
        }
    }
}

fn value_of(value: &Spanned<DeValue<'_>>) -> Result<Value, &'static str> {
    Ok(match value.get_ref() {
        DeValue::Boolean(on) => Value::Switch(*on),
        DeValue::Array(values) => {
            Value::Texts(values.iter().map(text_of).collect::<Result<_, _>>()?)
        }
        _ => Value::Texts(vec![text_of(value)?]),
    })
}

fn text_of(value: &Spanned<DeValue<'_>>) -> Result<OsString, &'static str> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.as_ref().into()),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().into()),
        DeValue::Float(number) => Ok(number.as_str().into()),
        _ => Err("a string, a number, true or false is expected"),
    }
}

/// The line of an offset in bytes, from 1 on.
#[must_use]
pub fn line_at(text: &[u8], offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    before.split(|byte| *byte == b'\n').count()
}
