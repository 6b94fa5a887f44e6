//! The fields of a TOML table, taken out one by one. Every mistake is noted, and reading goes on.
//!
//! Values are shown in errors only by those who know that they are no secrets; here it is their types.

use std::collections::HashMap;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Mistake, shown};

/// Where everything stands in the text, and what is wrong.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Paths of values, and where they begin.
    places: HashMap<String, usize>,
    /// Something is left out, so that what refers to it seems wrong.
    pub(super) incomplete: bool,
    pub(super) mistakes: Vec<Mistake>,
}

impl Notes {
    pub(super) fn mistake(&mut self, path: impl Into<String>, problem: impl Into<String>) {
        self.mistakes.push(Mistake::new(path, problem));
    }

    pub(super) fn found_at(&mut self, path: &str, place: usize) {
        self.places.insert(path.to_owned(), place);
    }

    /// Where a value begins, or what it is missing in.
    pub(super) fn place(&self, path: &str) -> Option<usize> {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return Some(*place);
            }
            path = parent(path)?;
        }
    }

    fn wrong_type(&mut self, path: &str, expected: &str, found: &DeValue<'_>) {
        self.mistake(path, format!("expected {expected}, found {}", kind(found)));
    }

    fn text(&mut self, path: &str, value: DeValue<'_>) -> Option<String> {
        match value {
            DeValue::String(text) => Some(text.into_owned()),
            other => {
                self.wrong_type(path, "a string", &other);
                None
            }
        }
    }
}

/// `products[0]` for `products[0].id`, and `products` for that.
pub(super) fn parent(path: &str) -> Option<&str> {
    path.rfind(['.', '[']).map(|end| &path[..end])
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// The fields of one table.
pub(super) struct Fields<'n, 'i> {
    table: DeTable<'i>,
    path: String,
    known: Vec<&'static str>,
    pub(super) notes: &'n mut Notes,
}

impl<'i> Fields<'_, 'i> {
    /// Reads a whole table. What is left of it is unknown.
    pub(super) fn read<T>(
        path: &str,
        table: DeTable<'i>,
        notes: &mut Notes,
        read: impl FnOnce(&mut Fields<'_, 'i>) -> T,
    ) -> T {
        let mut fields = Fields { table, path: path.to_owned(), known: Vec::new(), notes };
        let read = read(&mut fields);
        fields.refuse_the_rest();
        read
    }

    pub(super) fn path(&self, name: &str) -> String {
        match &*self.path {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        }
    }

    fn refuse_the_rest(self) {
        for (name, value) in &self.table {
            let path = self.path(&shown(name.get_ref()));
            self.notes.found_at(&path, name.span().start.min(value.span().start));
            let known = self.known.join(", ");
            self.notes.mistake(path, format!("there is no such field, expected one of {known}"));
        }
    }

    /// A value, with its path and where it begins.
    pub(super) fn take(&mut self, name: &'static str) -> Option<(String, Spanned<DeValue<'i>>)> {
        self.known.push(name);
        let value = self.table.remove(name)?;
        let path = self.path(name);
        self.notes.found_at(&path, value.span().start);
        Some((path, value))
    }

    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        let (path, value) = self.take(name)?;
        self.notes.text(&path, value.into_inner())
    }

    pub(super) fn required_text(&mut self, name: &'static str) -> String {
        if !self.table.contains_key(name) {
            self.notes.mistake(self.path(name), "expected a string, found nothing");
        }
        self.text(name).unwrap_or_default()
    }

    /// An array of strings, or one string.
    pub(super) fn texts(&mut self, name: &'static str) -> Option<Vec<String>> {
        self.list(name, Ok)
    }

    /// What is read from an array of strings, or from one string. What is wrong is noted and left out.
    pub(super) fn list<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(String) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let (path, value) = self.take(name)?;
        let place = value.span();
        let values: Vec<_> = match value.into_inner() {
            DeValue::Array(values) => values.into_iter().collect(),
            text @ DeValue::String(_) => vec![Spanned::new(place, text)],
            other => {
                self.notes.wrong_type(&path, "a string or an array of strings", &other);
                return None;
            }
        };
        let mut list = Vec::new();
        for (index, value) in values.into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            self.notes.found_at(&path, value.span().start);
            let Some(text) = self.notes.text(&path, value.into_inner()) else { continue };
            match read(text) {
                Ok(read) => list.push(read),
                Err(problem) => self.notes.mistake(path, problem),
            }
        }
        Some(list)
    }

    pub(super) fn boolean(&mut self, name: &'static str) -> Option<bool> {
        let (path, value) = self.take(name)?;
        match value.into_inner() {
            DeValue::Boolean(value) => Some(value),
            other => {
                self.notes.wrong_type(&path, "true or false", &other);
                None
            }
        }
    }

    pub(super) fn number(&mut self, name: &'static str) -> Option<usize> {
        let (path, value) = self.take(name)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => usize::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        if number.is_none() {
            let problem = match value.get_ref() {
                DeValue::Integer(number) => format!("expected a positive number, found {number}"),
                other => format!("expected a positive number, found {}", kind(other)),
            };
            self.notes.mistake(path, problem);
        }
        number
    }

    /// As text, such as `2s`.
    pub(super) fn duration(&mut self, name: &'static str) -> Option<Duration> {
        const EXPECTED: &str = "a duration such as \"2s\" or \"1m 30s\"";
        let (path, value) = self.take(name)?;
        let DeValue::String(text) = value.get_ref() else {
            self.notes.wrong_type(&path, EXPECTED, value.get_ref());
            return None;
        };
        let duration = humantime::parse_duration(text).ok();
        if duration.is_none() {
            let found = shown(text);
            self.notes.mistake(path, format!("expected {EXPECTED}, found {found}"));
        }
        duration
    }

    /// A table.
    pub(super) fn table<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Fields<'_, 'i>) -> T,
    ) -> Option<T> {
        let (path, value) = self.take(name)?;
        match value.into_inner() {
            DeValue::Table(table) => Some(Fields::read(&path, table, self.notes, read)),
            other => {
                self.notes.wrong_type(&path, "a table", &other);
                None
            }
        }
    }

    /// An array of tables. What is no table is noted and left out.
    pub(super) fn tables<T>(
        &mut self,
        name: &'static str,
        mut read: impl FnMut(&mut Fields<'_, 'i>) -> T,
    ) -> Vec<T> {
        let Some((path, value)) = self.take(name) else { return Vec::new() };
        let values = match value.into_inner() {
            DeValue::Array(values) => values,
            other => {
                self.notes.wrong_type(&path, "an array of tables", &other);
                self.notes.incomplete = true;
                return Vec::new();
            }
        };
        let mut tables = Vec::new();
        for (index, value) in values.into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            self.notes.found_at(&path, value.span().start);
            match value.into_inner() {
                DeValue::Table(table) => {
                    tables.push(Fields::read(&path, table, self.notes, &mut read));
                }
                other => {
                    self.notes.wrong_type(&path, "a table", &other);
                    self.notes.incomplete = true;
                }
            }
        }
        tables
    }
}
