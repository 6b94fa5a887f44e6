//! Prints what rustdoc's JSON says is public, an item a line. Usage: `list-public-api FILE`.

use std::error::Error;

/// Traits that the compiler implements unasked, and that nobody can name or relies on.
const UNSEEN: [&str; 5] = [
    "core::marker::Freeze for ",
    "core::marker::StructuralPartialEq for ",
    "core::marker::UnsafeUnpin for ",
    "core::panic::unwind_safe::RefUnwindSafe for ",
    "core::panic::unwind_safe::UnwindSafe for ",
];

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args_os().nth(1).ok_or("usage: list-public-api FILE")?;
    // Without what every type has. Send, Sync and what is derived stay: they are lost by accident.
    let api = public_api::Builder::from_rustdoc_json(file).omit_blanket_impls(true).build()?;
    let items = api.items().map(ToString::to_string);
    for item in items.filter(|item| !UNSEEN.iter().any(|name| item.contains(name))) {
        println!("{item}");
    }
    Ok(())
}
