//! What is wrong with a configuration.

use std::error::Error;
use std::fmt;
use std::path::Path;

/// How many are shown.
const SHOWN: usize = 50;

/// The mistakes in a configuration, at least one. As text: a line for each of the first 50.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Box<[ConfigError]>);

/// A mistake: where it is and what was expected there. It never holds a secret.
///
/// As text:
///
/// ```text
/// gateway.toml:14: products[0].dialect: expected one of …, found "aliun"
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigError {
    /// The file, as it was named; `None` when the configuration is from none.
    pub file: Option<Box<str>>,
    /// The line, from 1; `None` when there is no line, or it is all of them.
    pub line: Option<usize>,
    /// Which value: `products[0].dialect`. Empty for the whole file.
    pub path: Box<str>,
    /// What was expected, and mostly what was found.
    pub problem: Box<str>,
}

/// A mistake in a value, wherever that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) path: String,
    pub(super) problem: String,
}

impl Mistake {
    pub(super) fn new(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { path: path.into(), problem: problem.into() }
    }
}

impl ConfigErrors {
    /// All of them, in the order of their lines.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }

    /// Of a file; each with its line.
    pub(super) fn in_file(
        file: &Path,
        mistakes: impl IntoIterator<Item = (Option<usize>, Mistake)>,
    ) -> Self {
        let file: Box<str> = file.display().to_string().into();
        let error = |(line, Mistake { path, problem })| ConfigError {
            file: Some(file.clone()),
            line,
            path: path.into(),
            problem: problem.into(),
        };
        let mut errors: Vec<_> = mistakes.into_iter().map(error).collect();
        errors.sort_by_key(|error| error.line);
        errors.dedup();
        Self(errors.into())
    }

    /// Without lines, but for what is wrong with the value at this path.
    pub(super) fn with_place_of(
        path: &str,
        place: Option<&(Box<str>, usize)>,
        mistakes: Vec<Mistake>,
    ) -> Result<(), Self> {
        if mistakes.is_empty() {
            return Ok(());
        }
        let error = |mistake: Mistake| {
            let place = place.filter(|_| mistake.path == path).cloned();
            let (file, line) = place.unzip();
            ConfigError { file, line, ..mistake.into() }
        };
        Err(Self(mistakes.into_iter().map(error).collect()))
    }

    pub(super) fn one(mistake: Mistake) -> Self {
        Self(Box::new([mistake.into()]))
    }
}

/// Of no file.
impl From<Mistake> for ConfigError {
    fn from(Mistake { path, problem }: Mistake) -> Self {
        Self { file: None, line: None, path: path.into(), problem: problem.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{file}:{line}: ")?,
            (Some(file), None) => write!(f, "{file}: ")?,
            (None, _) => {}
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.problem)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().take(SHOWN).enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl Error for ConfigError {}
impl Error for ConfigErrors {}

/// Text of the configuration in an error: short, and on one line.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 64;
    match text.char_indices().nth(LONGEST) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}
