// SPDX-License-Identifier: GPL-2.0

//! `tcpctl man`: manual pages.

use std::{
    fs,
    path::Path, //
};

use clap::CommandFactory;
use serde_json::json;

use crate::{
    cli::Cli,
    error::{
        Error,
        Result, //
    },
    output::{
        count,
        Output, //
    }, //
};

/// Writes one page for each command into a directory.
///
/// # Errors
///
/// Those of the files.
pub(crate) fn run(directory: &Path, output: &Output) -> Result<()> {
    fs::create_dir_all(directory).map_err(|source| Error::file("create", directory, source))?;
    clap_mangen::generate_to(Cli::command(), directory)
        .map_err(|source| Error::file("write to", directory, source))?;
    let pages = fs::read_dir(directory)
        .map_err(|source| Error::file("read", directory, source))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("tcpctl") && name.ends_with(".1"))
        .count();
    output.either(&json!({ "directory": directory, "pages": pages }), || {
        format!("{} in {}", count(pages, "page"), directory.display())
    })
}
