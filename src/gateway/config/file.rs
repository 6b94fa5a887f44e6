//! Files whose size nobody vouches for.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Reads a file of at most so many bytes. What is read of one that fails is in `text` too.
pub(super) fn read(path: &Path, most: u64, text: &mut String) -> io::Result<()> {
    File::open(path)?.take(most + 1).read_to_string(text)?;
    if u64::try_from(text.len()).is_ok_and(|length| length > most) {
        return Err(io::Error::other(format!("it has more than {most} bytes")));
    }
    Ok(())
}
