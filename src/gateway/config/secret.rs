//! Secrets, in the file or elsewhere. What is wrong is said without them, and without what may be one
//! that stands in the wrong field.

use std::io;
use std::path::Path;

use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use super::fields::Fields;
use super::file;

/// Bytes of a secret's file.
const LONGEST: u64 = 64 * 1024;

/// The names of the three fields that one secret can stand in.
pub(super) struct Places {
    here: &'static str,
    file: &'static str,
    env: &'static str,
}

pub(super) const SECRET: Places = Places { here: "secret", file: "secret_file", env: "secret_env" };
pub(super) const BEARER: Places = Places { here: "bearer", file: "bearer_file", env: "bearer_env" };
pub(super) const PASSWORD: Places =
    Places { here: "password", file: "password_file", env: "password_env" };

impl Fields<'_, '_> {
    /// The secret, if it is given. Files are seen from `directory`.
    pub(super) fn secret(&mut self, places: &Places, directory: &Path) -> Option<SecretString> {
        let Places { here, file, env } = *places;
        let given = [self.secret_text(here), self.secret_text(file), self.secret_text(env)];
        let path = self.path(here);
        match given {
            [None, None, None] => None,
            [Some((_, text)), None, None] => Some(text?.into()),
            [None, Some((place, name)), None] => {
                self.notes.found_at(&path, place);
                let read = from_file(&directory.join(name?));
                self.accept(
                    file,
                    read.map_err(|error| {
                        format!("expected a file with the secret, which cannot be read: {error}")
                    }),
                )
            }
            [None, None, Some((place, name))] => {
                self.notes.found_at(&path, place);
                self.accept(env, from_environment(&name?))
            }
            _ => {
                let problem = format!("expected only one of {here}, {file} and {env}");
                self.notes.mistake(path, problem);
                None
            }
        }
    }

    pub(super) fn required_secret(&mut self, places: &Places, directory: &Path) -> SecretString {
        let before = self.notes.mistakes.len();
        let secret = self.secret(places, directory);
        if secret.is_none() && self.notes.mistakes.len() == before {
            let Places { here, file, env } = places;
            let problem = format!("expected a string, or {file} or {env}, found nothing");
            self.notes.mistake(self.path(here), problem);
        }
        secret.unwrap_or_default()
    }

    /// Where it stands, and what it is if it is text.
    fn secret_text(&mut self, name: &'static str) -> Option<(usize, Option<String>)> {
        let before = self.notes.mistakes.len();
        let text = self.text(name);
        let given = text.is_some() || self.notes.mistakes.len() > before;
        given.then(|| (self.notes.place(&self.path(name)).unwrap_or_default(), text))
    }

    fn accept(&mut self, name: &str, read: Result<SecretString, String>) -> Option<SecretString> {
        read.map_err(|problem| self.notes.mistake(self.path(name), problem)).ok()
    }
}

/// The content of a file, without the end of its last line.
fn from_file(path: &Path) -> io::Result<SecretString> {
    let mut text = Zeroizing::new(String::new());
    file::read(path, LONGEST, &mut text)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).into())
}

fn from_environment(name: &str) -> Result<SecretString, String> {
    // The standard library would panic.
    let possible = !name.is_empty() && !name.contains(['=', '\0']);
    let value = if possible { std::env::var(name).ok() } else { None };
    value
        .map(SecretString::from)
        .ok_or_else(|| "expected the name of an environment variable that is set".to_owned())
}
