//! Answers as tables: a struct whose fields name their keys goes over the wire and back.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use indexfile::Guid;
use indexfile::mailbox::MailboxName;

use super::{FieldError, Fields};

/// What a key of an answer can stand for.
pub(super) trait Value: Sized {
    /// Adds it.
    fn add(&self, fields: Fields, key: &str) -> Fields;
    /// Reads it.
    fn read(fields: &Fields, key: &'static str) -> Result<Self, FieldError>;
}

/// For a type that is parsed from what it is displayed as.
macro_rules! plain {
    ($($ty:ty),*) => {$(
        impl Value for $ty {
            fn add(&self, fields: Fields, key: &str) -> Fields {
                fields.with(key, self)
            }

            fn read(fields: &Fields, key: &'static str) -> Result<Self, FieldError> {
                fields.get(key)
            }
        }
    )*};
}
pub(super) use plain;
plain!(u32, u64, Guid);

impl Value for String {
    fn add(&self, fields: Fields, key: &str) -> Fields {
        fields.with(key, self)
    }

    fn read(fields: &Fields, key: &'static str) -> Result<String, FieldError> {
        fields.text(key)
    }
}

impl Value for MailboxName {
    fn add(&self, fields: Fields, key: &str) -> Fields {
        fields.with(key, self)
    }

    fn read(fields: &Fields, key: &'static str) -> Result<MailboxName, FieldError> {
        name(key, &fields.bytes(key)?)
    }
}

/// 1 or 0.
impl Value for bool {
    fn add(&self, fields: Fields, key: &str) -> Fields {
        fields.with(key, u8::from(*self))
    }

    fn read(fields: &Fields, key: &'static str) -> Result<bool, FieldError> {
        Ok(fields.get::<u8>(key)? != 0)
    }
}

/// Microseconds.
impl Value for Duration {
    fn add(&self, fields: Fields, key: &str) -> Fields {
        fields.with(key, self.as_micros())
    }

    fn read(fields: &Fields, key: &'static str) -> Result<Duration, FieldError> {
        fields.get(key).map(Duration::from_micros)
    }
}

/// Absent if there is none.
impl<T: Value> Value for Option<T> {
    fn add(&self, fields: Fields, key: &str) -> Fields {
        match self {
            Some(value) => value.add(fields, key),
            None => fields,
        }
    }

    fn read(fields: &Fields, key: &'static str) -> Result<Option<T>, FieldError> {
        fields.word(key).map(|_| T::read(fields, key)).transpose()
    }
}

/// Items with commas between them, each escaped.
impl<T: Display + FromStr> Value for Vec<T> {
    fn add(&self, fields: Fields, key: &str) -> Fields {
        fields.with_list(key, self)
    }

    fn read(fields: &Fields, key: &'static str) -> Result<Vec<T>, FieldError> {
        let item = |bytes: &Vec<u8>| {
            let value = String::from_utf8_lossy(bytes).into_owned();
            value
                .parse()
                .map_err(|_| FieldError::Malformed { key, value })
        };
        fields.list(key)?.iter().map(item).collect()
    }
}

/// A number, or the word `none`.
pub(super) mod or_none {
    use super::{FieldError, Fields};

    #[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref)] // called as Value::add is
    pub(crate) fn add(value: &Option<u32>, fields: Fields, key: &str) -> Fields {
        match value {
            Some(value) => fields.with(key, value),
            None => fields.with(key, "none"),
        }
    }

    pub(crate) fn read(fields: &Fields, key: &'static str) -> Result<Option<u32>, FieldError> {
        match fields.word(key) {
            Some("none") => Ok(None),
            _ => fields.get(key).map(Some),
        }
    }
}

/// Items that need no escape, with commas between them.
pub(super) mod unescaped {
    use std::fmt::Display;
    use std::str::FromStr;

    use super::{FieldError, Fields};

    pub(crate) fn add<T: Display>(items: &[T], fields: Fields, key: &str) -> Fields {
        let items: Vec<String> = items.iter().map(T::to_string).collect();
        fields.with_word(key, items.join(","))
    }

    pub(crate) fn read<T: FromStr>(
        fields: &Fields,
        key: &'static str,
    ) -> Result<Vec<T>, FieldError> {
        let word = fields.word(key).ok_or(FieldError::Missing { key })?;
        let items = word.split(',').filter(|item| !item.is_empty());
        let parsed = items.map(|item| {
            item.parse().map_err(|_| FieldError::Malformed {
                key,
                value: item.to_owned(),
            })
        });
        parsed.collect()
    }
}

/// 1 if an older server does not say.
pub(super) mod or_true {
    pub(crate) use super::or_default::add;
    use super::{FieldError, Fields, Value};

    pub(crate) fn read(fields: &Fields, key: &'static str) -> Result<bool, FieldError> {
        Option::<bool>::read(fields, key).map(|said| said.unwrap_or(true))
    }
}

/// Something that older servers do not say.
pub(super) mod or_default {
    use super::{FieldError, Fields, Value};

    pub(crate) fn add<T: Value>(value: &T, fields: Fields, key: &str) -> Fields {
        value.add(fields, key)
    }

    pub(crate) fn read<T: Value + Default>(
        fields: &Fields,
        key: &'static str,
    ) -> Result<T, FieldError> {
        Option::<T>::read(fields, key).map(Option::unwrap_or_default)
    }
}

/// Reads a mailbox name.
pub(super) fn name(key: &'static str, bytes: &[u8]) -> Result<MailboxName, FieldError> {
    MailboxName::from_bytes(bytes).map_err(|_| FieldError::Malformed {
        key,
        value: String::from_utf8_lossy(bytes).into_owned(),
    })
}

/// An answer: each field with its key, in the order of the wire, and `via` what it is written and
/// read if that is not what its type does.
macro_rules! answer {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[$doc:meta])* pub $field:ident: $ty:ty = $key:literal $(via $via:ident)?,)*
        }
    ) => {
        $(#[$meta])*
        pub struct $name {
            $($(#[$doc])* pub $field: $ty,)*
        }

        impl $name {
            /// For the wire.
            #[must_use]
            pub fn to_fields(&self) -> Fields {
                let fields = Fields::new();
                $(let fields = answer!(@add $ty $(, $via)?)(&self.$field, fields, $key);)*
                fields
            }

            /// From the wire.
            ///
            /// # Errors
            /// A field is missing or malformed.
            pub fn from_fields(fields: &Fields) -> Result<$name, FieldError> {
                Ok($name {
                    $($field: answer!(@read $ty $(, $via)?)(fields, $key)?,)*
                })
            }
        }
    };
    (@add $ty:ty) => { <$ty as $crate::protocol::answer::Value>::add };
    (@add $ty:ty, $via:ident) => { $crate::protocol::answer::$via::add };
    (@read $ty:ty) => { <$ty as $crate::protocol::answer::Value>::read };
    (@read $ty:ty, $via:ident) => { $crate::protocol::answer::$via::read };
}
pub(super) use answer;
