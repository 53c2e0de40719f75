// SPDX-License-Identifier: GPL-2.0

//! What parts of the engine cost on this machine, by criterion.
//!
//! `cargo bench -p engine` measures them all, `cargo bench -p engine -- policy` those with that word in
//! their names. With the variable `NATIVE_RST` set, the medians become a table in the file that it names: an absolute
//! path, since benchmarks run in the directory of their crate.

#[path = "../../tests/support/mod.rs"]
mod support;

mod policy;
mod report;
mod vote;
mod wire;

use criterion::{
    Bencher,
    Criterion, //
};
use std::path::{
    Path,
    PathBuf, //
};
use std::process::ExitCode;
use std::time::{
    Duration,
    SystemTime, //
};

/// Numbers of validators: few, and as many as there may be.
const VALIDATORS: [u16; 2] = [7, 128];

/// The benchmarks, and what the report needs to know of them.
struct Suite {
    criterion: Criterion,
    /// Where criterion leaves its figures.
    figures: PathBuf,
    /// Name, and what one call does.
    parts: Vec<(String, String)>,
}

impl Suite {
    /// With times that keep the whole run below a minute and a half.
    fn new() -> Self {
        // The compiler says where its target directory is only so.
        let figures = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("criterion");
        let criterion = Criterion::default()
            .output_directory(&figures)
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(2))
            .configure_from_args();
        Self {
            criterion,
            figures,
            parts: Vec::new(),
        }
    }

    /// Measures `routine` as `name`; `what` says in the table what one call does.
    fn measure(
        &mut self,
        name: impl Into<String>,
        what: impl Into<String>,
        routine: impl FnMut(&mut Bencher<'_>),
    ) {
        let name = name.into();
        self.criterion.bench_function(&name, routine);
        self.parts.push((name, what.into()));
    }
}

fn main() -> ExitCode {
    let start = SystemTime::now();
    let mut suite = Suite::new();
    vote::measure(&mut suite);
    policy::measure(&mut suite);
    wire::measure(&mut suite);
    suite.criterion.final_summary();
    let Some(file) = std::env::var_os("NATIVE_RST") else {
        return ExitCode::SUCCESS;
    };
    match report::write(Path::new(&file), &suite.figures, &suite.parts, start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
