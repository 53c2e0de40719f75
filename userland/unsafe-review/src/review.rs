// SPDX-License-Identifier: GPL-2.0

//! Brings the unsafe code, its tests and the proofs together, and finds what is missing or stale.

use crate::scan::{
    self,
    Place, //
};
use serde::Deserialize;
use std::collections::{
    BTreeMap,
    BTreeSet, //
};
use std::fs;
use std::path::{
    Path,
    PathBuf, //
};

/// The directory that may have unsafe code.
const HOME: &str = "rust";
/// Where there must be none, but for [`Tests::outside`].
const ELSEWHERE: [&str; 2] = ["src", "userland"];

/// `tests.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tests {
    /// The commit that the proofs were made from.
    pub(crate) proved: String,
    /// Directories beside `rust/` that have unsafe code, and why.
    pub(crate) outside: BTreeMap<String, String>,
    /// Of each file, the tests of each item: `ITEM`, or `ITEM#2` for its second place alone.
    pub(crate) files: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// What was broken to see a test fail.
    #[serde(rename = "proof")]
    pub(crate) proofs: Vec<Proof>,
}

/// One invariant that was broken on purpose.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Proof {
    /// The file.
    pub(crate) file: String,
    /// The item.
    pub(crate) item: String,
    /// What was broken, in words.
    pub(crate) broken: String,
    /// The text that was replaced, which occurs once in the file.
    pub(crate) from: String,
    /// The text that it was replaced with.
    pub(crate) to: String,
    /// The test that failed.
    pub(crate) test: String,
    /// What it said.
    pub(crate) seen: String,
}

/// Everything that the document shows.
pub(crate) struct Review {
    /// The files of `rust/` with unsafe code, in order.
    pub(crate) files: Vec<(String, Vec<Place>)>,
    /// The tests.
    pub(crate) tests: Tests,
}

/// All files below `directory` whose names end in `.rs`, in order.
fn sources(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let entries = fs::read_dir(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    for entry in entries {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The name of `path` below `top`.
fn name_of(top: &Path, path: &Path) -> String {
    path.strip_prefix(top)
        .unwrap_or(path)
        .to_string_lossy()
        .into_owned()
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// The unsafe code of all files below `directory` of the project.
fn scan_all(top: &Path, directory: &str) -> Result<Vec<(String, Vec<Place>)>, String> {
    let mut files = Vec::new();
    for path in sources(&top.join(directory))? {
        let name = name_of(top, &path);
        let places = scan::scan(&read(&path)?).map_err(|e| format!("{name}: {e}"))?;
        if !places.is_empty() {
            files.push((name, places));
        }
    }
    Ok(files)
}

impl Tests {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or says something else.
    pub(crate) fn load(path: &Path) -> Result<Self, String> {
        toml::from_str(&read(path)?).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// The key of a place in its file's table, and its tests.
    pub(crate) fn of(&self, file: &str, place: &Place) -> Option<(String, &[String])> {
        let table = self.files.get(file)?;
        let own = format!("{}#{}", place.item, place.number);
        [own, place.item.clone()].into_iter().find_map(|key| {
            let tests = table.get(&key)?;
            Some((key, tests.as_slice()))
        })
    }
}

/// Whether `test` is among those that exist: `load`, `bench`, `GROUP NAME`, `debug GROUP NAME`, `part NAME`.
fn exists(known: &BTreeSet<String>, test: &str) -> bool {
    ["load", "bench"].contains(&test) || known.contains(test.strip_prefix("debug ").unwrap_or(test))
}

impl Review {
    /// Reads the project at `top`. `known` are the tests that there are.
    ///
    /// # Errors
    ///
    /// Everything that is missing or stale.
    pub(crate) fn new(
        top: &Path,
        tests: Tests,
        known: &BTreeSet<String>,
    ) -> Result<Self, Vec<String>> {
        let files = scan_all(top, HOME).map_err(|e| vec![e])?;
        let review = Self { files, tests };
        let mut wrong = review.places(known);
        wrong.extend(review.stale());
        wrong.extend(review.outside(top));
        wrong.extend(review.proofs(top));
        if wrong.is_empty() {
            Ok(review)
        } else {
            Err(wrong)
        }
    }

    fn places(&self, known: &BTreeSet<String>) -> Vec<String> {
        let mut wrong = Vec::new();
        for (file, places) in &self.files {
            for place in places {
                let at = format!("{file}:{}: {}", place.line, place.item);
                if let Err(e) = &place.relies_on {
                    wrong.push(format!("{at}: {e}"));
                }
                match self.tests.of(file, place) {
                    None => wrong.push(format!("{at}: no test in tests.toml")),
                    Some((_, [])) => wrong.push(format!("{at}: an empty list of tests")),
                    Some((_, tests)) => {
                        let gone = tests.iter().filter(|test| !exists(known, test));
                        wrong.extend(gone.map(|test| format!("{at}: there is no test \"{test}\"")));
                    }
                }
            }
        }
        wrong
    }

    /// Entries of `tests.toml` that belong to no place.
    fn stale(&self) -> Vec<String> {
        let mut used = BTreeSet::new();
        for (file, places) in &self.files {
            used.extend(
                places
                    .iter()
                    .filter_map(|place| Some((file.as_str(), self.tests.of(file, place)?.0))),
            );
        }
        let all =
            self.tests.files.iter().flat_map(|(file, items)| {
                items.keys().map(move |item| (file.as_str(), item.clone()))
            });
        all.filter(|entry| !used.contains(entry))
            .map(|(file, item)| format!("tests.toml: {file} has no unsafe code in {item}"))
            .collect()
    }

    fn outside(&self, top: &Path) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut used = BTreeSet::new();
        for directory in ELSEWHERE {
            let files = match scan_all(top, directory) {
                Ok(files) => files,
                Err(e) => return vec![e],
            };
            for (file, places) in files {
                let under = |dir: &&String| file.starts_with(&format!("{dir}/"));
                match (self.tests.outside.keys().find(under), places.first()) {
                    (Some(dir), _) => {
                        used.insert(dir.clone());
                    }
                    (None, Some(place)) => {
                        wrong.push(format!(
                            "{file}:{}: unsafe code outside of rust/",
                            place.line
                        ));
                    }
                    (None, None) => {}
                }
            }
        }
        let stale = self.tests.outside.keys().filter(|dir| !used.contains(*dir));
        wrong.extend(stale.map(|dir| format!("tests.toml: {dir} has no unsafe code")));
        wrong
    }

    fn proofs(&self, top: &Path) -> Vec<String> {
        let mut wrong = Vec::new();
        for (number, proof) in self.tests.proofs.iter().enumerate() {
            let at = format!("tests.toml: proof {} ({})", number + 1, proof.item);
            if let Err(e) = proof.apply(top) {
                wrong.push(format!("{at}: {e}"));
            }
            let mut places = self.files.iter().filter(|(file, _)| *file == proof.file);
            let named = places.next().is_some_and(|(file, places)| {
                places.iter().any(|place| {
                    place.item == proof.item
                        && self
                            .tests
                            .of(file, place)
                            .is_some_and(|(_, tests)| tests.contains(&proof.test))
                })
            });
            if !named {
                wrong.push(format!("{at}: its test is not named for the item"));
            }
        }
        wrong
    }
}

impl Proof {
    /// The file below `top` with the invariant broken.
    ///
    /// # Errors
    ///
    /// The text to replace does not occur once.
    pub(crate) fn apply(&self, top: &Path) -> Result<String, String> {
        let source = read(&top.join(&self.file))?;
        match source.matches(&self.from).count() {
            1 => Ok(source.replacen(&self.from, &self.to, 1)),
            count => Err(format!("its text occurs {count} times in {}", self.file)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "fn f() {\n    // SAFETY: s\n    unsafe { x() }\n}\n";

    /// What is wrong with a project of one file.
    fn wrong(source: &str, src: &str, tests: &str) -> Vec<String> {
        let top = tempfile::tempdir().expect("directory");
        for (name, text) in [
            ("rust/a.rs", source),
            ("src/b.rs", src),
            ("userland/c.rs", ""),
        ] {
            let path = top.path().join(name);
            fs::create_dir_all(path.parent().expect("parent")).expect("directory");
            fs::write(path, text).expect("file");
        }
        let tests = toml::from_str(&format!("proved = \"0\"\n{tests}")).expect("toml");
        let known = ["g t", "part p"].map(String::from).into();
        Review::new(top.path(), tests, &known)
            .err()
            .unwrap_or_default()
    }

    const GOOD: &str =
        "proof = []\n[outside]\n[files.\"rust/a.rs\"]\nf = [\"g t\", \"debug g t\", \"load\"]\n";

    #[test]
    fn complete_is_fine() {
        assert_eq!(wrong(SOURCE, "", GOOD), Vec::<String>::new());
    }

    #[test]
    fn a_place_without_a_comment() {
        let source = SOURCE.replace("SAFETY:", "Safe:");
        assert_eq!(
            wrong(&source, "", GOOD),
            ["rust/a.rs:3: f: no SAFETY comment"]
        );
    }

    #[test]
    fn a_place_without_a_test_and_an_entry_without_a_place() {
        let tests = GOOD.replace("\nf = ", "\ng = ");
        assert_eq!(
            wrong(SOURCE, "", &tests),
            [
                "rust/a.rs:3: f: no test in tests.toml",
                "tests.toml: rust/a.rs has no unsafe code in g"
            ]
        );
    }

    #[test]
    fn a_test_that_does_not_exist() {
        for name in ["g u", "part q", "debug g u", "loads"] {
            let tests = GOOD.replace("debug g t", name);
            let expected = format!("rust/a.rs:3: f: there is no test \"{name}\"");
            assert_eq!(wrong(SOURCE, "", &tests), [expected]);
        }
    }

    #[test]
    fn unsafe_code_elsewhere() {
        assert_eq!(
            wrong(SOURCE, SOURCE, GOOD),
            ["src/b.rs:3: unsafe code outside of rust/"]
        );
        let tests = GOOD.replace("[outside]", "[outside]\nuserland = \"why\"");
        assert_eq!(
            wrong(SOURCE, "", &tests),
            ["tests.toml: userland has no unsafe code"]
        );
    }

    #[test]
    fn a_proof_that_went_stale() {
        let proof = |from: &str, test: &str| {
            GOOD.replace("proof = []\n", "")
                + &format!(
                    "[[proof]]\nfile = \"rust/a.rs\"\nitem = \"f\"\nbroken = \"b\"\nfrom = \"{from}\"\n\
                     to = \"y\"\ntest = \"{test}\"\nseen = \"s\"\n"
                )
        };
        assert!(wrong(SOURCE, "", &proof("x()", "g t")).is_empty());
        assert_eq!(
            wrong(SOURCE, "", &proof("z()", "g t")),
            ["tests.toml: proof 1 (f): its text occurs 0 times in rust/a.rs"]
        );
        assert_eq!(
            wrong(SOURCE, "", &proof("x()", "part p")),
            ["tests.toml: proof 1 (f): its test is not named for the item"]
        );
    }
}
