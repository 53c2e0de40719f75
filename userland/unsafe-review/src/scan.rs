// SPDX-License-Identifier: GPL-2.0

//! Finds the unsafe code of a source file, by its tokens, so also inside of macros.

use crate::comment::Comments;
use proc_macro2::{
    Delimiter,
    Group,
    Span,
    TokenStream,
    TokenTree, //
};
use std::fmt;

/// What is unsafe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `unsafe { ... }`
    Block,
    /// `unsafe fn`
    Function,
    /// `unsafe impl`
    Impl,
    /// `unsafe trait`
    Trait,
    /// `extern "C" { ... }`, unsafe or not
    Foreign,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Block => "block",
            Self::Function => "fn",
            Self::Impl => "impl",
            Self::Trait => "trait",
            Self::Foreign => "extern",
        })
    }
}

/// One place of unsafe code.
#[derive(Debug)]
pub(crate) struct Place {
    /// The item that it is in, or is: `Type::function`, the whole header for an `unsafe impl`.
    pub(crate) item: String,
    /// Which one of the item's it is, from 1.
    pub(crate) number: usize,
    /// What it is.
    pub(crate) kind: Kind,
    /// The line of the word `unsafe`, from 1.
    pub(crate) line: usize,
    /// What the source says that it relies on; `Err` says what is wrong with that.
    pub(crate) relies_on: Result<String, String>,
}

struct Scanner<'a> {
    source: &'a str,
    comments: Comments<'a>,
    path: Vec<String>,
    /// Whether the functions of this `impl` answer to a trait, which has their safety requirements.
    inherits: bool,
    places: Vec<Place>,
}

/// All the unsafe code of `source`, in its order.
///
/// # Errors
///
/// Why the source has no tokens.
pub(crate) fn scan(source: &str) -> Result<Vec<Place>, String> {
    let tokens: TokenStream = source.parse().map_err(|e| format!("{e}"))?;
    let mut scanner = Scanner {
        source,
        comments: Comments::new(source),
        path: Vec::new(),
        inherits: false,
        places: Vec::new(),
    };
    scanner.walk(tokens);
    Ok(scanner.places)
}

fn is_word(token: Option<&TokenTree>, word: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident == word)
}

fn braces(token: Option<&TokenTree>) -> Option<&Group> {
    match token {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => Some(group),
        _ => None,
    }
}

/// The name after a keyword, with the `$` of a macro's parameter.
fn name_at(tokens: &[TokenTree], at: usize) -> Option<String> {
    match (tokens.get(at), tokens.get(at + 1)) {
        (Some(TokenTree::Ident(name)), _) => Some(name.to_string()),
        (Some(TokenTree::Punct(dollar)), Some(TokenTree::Ident(name)))
            if dollar.as_char() == '$' =>
        {
            Some(format!("${name}"))
        }
        _ => None,
    }
}

impl Scanner<'_> {
    fn walk(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at = match token {
                TokenTree::Ident(word) if word == "unsafe" => self.unsafe_word(&tokens, at),
                TokenTree::Ident(word) if word == "fn" => self.function(&tokens, at, None),
                TokenTree::Ident(word) if word == "impl" => self.implementation(&tokens, at, None),
                TokenTree::Ident(word) if word == "extern" => {
                    self.foreign(&tokens, at, word.span())
                }
                TokenTree::Ident(word) if word == "mod" || word == "trait" => {
                    self.named(&tokens, at, name_at(&tokens, at + 1))
                }
                TokenTree::Ident(word) if word == "macro_rules" => {
                    let name = name_at(&tokens, at + 2).map(|name| format!("{name}!"));
                    self.named(&tokens, at, name)
                }
                TokenTree::Group(group) => {
                    self.walk(group.stream());
                    at + 1
                }
                _ => at + 1,
            };
        }
    }

    /// What follows the word `unsafe`. Returns where to go on.
    fn unsafe_word(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        let span = tokens.get(at).map_or_else(Span::call_site, TokenTree::span);
        let next = tokens.get(at + 1);
        if braces(next).is_some() {
            let relies_on = self.comments.safety_above(span.start().line);
            self.add(Kind::Block, span, relies_on);
            return at + 1;
        }
        if is_word(next, "impl") {
            return self.implementation(tokens, at + 1, Some(span));
        }
        if is_word(next, "trait") {
            let relies_on = self.comments.requirements_above(span.start().line);
            self.path.extend(name_at(tokens, at + 2));
            self.add(Kind::Trait, span, relies_on);
            self.path.pop();
            return at + 1;
        }
        // `extern "C"` may stand between.
        let mut after = at + 1;
        if is_word(next, "extern") {
            after += 1;
            if matches!(tokens.get(after), Some(TokenTree::Literal(_))) {
                after += 1;
            }
            if braces(tokens.get(after)).is_some() {
                return self.foreign(tokens, at + 1, span);
            }
        }
        if is_word(tokens.get(after), "fn") {
            return self.function(tokens, after, Some(span));
        }
        // `#[unsafe(...)]`, or something new.
        self.add(
            Kind::Block,
            span,
            Err("the review does not know this form of unsafe".into()),
        );
        at + 1
    }

    /// From the word `fn`.
    fn function(&mut self, tokens: &[TokenTree], at: usize, is_unsafe: Option<Span>) -> usize {
        // The type of a pointer has no name.
        let Some(name) = name_at(tokens, at + 1) else {
            return at + 1;
        };
        self.path.push(name);
        if let Some(span) = is_unsafe {
            let relies_on = if self.inherits {
                Ok("The safety requirements of the trait's method.".to_string())
            } else {
                self.comments.requirements_above(span.start().line)
            };
            self.add(Kind::Function, span, relies_on);
        }
        let end = self.body(tokens, at);
        self.path.pop();
        end
    }

    /// From the word `impl`, which may also be that of an argument's type.
    fn implementation(
        &mut self,
        tokens: &[TokenTree],
        at: usize,
        is_unsafe: Option<Span>,
    ) -> usize {
        let header: Vec<&TokenTree> = tokens
            .iter()
            .skip(at + 1)
            .take_while(|token| braces(Some(token)).is_none())
            .collect();
        let (of_trait, ty) = self.header(&header);
        let before = self.inherits;
        self.inherits = of_trait.is_some();
        self.path.push(match (is_unsafe, of_trait) {
            (Some(_), Some(name)) => format!("{name} for {ty}"),
            // Its parameters do not tell it from another.
            _ => ty.split('<').next().unwrap_or_default().to_string(),
        });
        if let Some(span) = is_unsafe {
            let relies_on = self.comments.safety_above(span.start().line);
            self.add(Kind::Impl, span, relies_on);
        }
        let end = self.body(tokens, at);
        self.path.pop();
        self.inherits = before;
        end
    }

    /// The trait, if any, and the type of an `impl`'s header.
    fn header(&self, header: &[&TokenTree]) -> (Option<String>, String) {
        let mut depth = 0usize;
        let mut parts = vec![Vec::new()];
        for (at, token) in header.iter().enumerate() {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '<' => depth += 1,
                // Not the arrow of a function's type.
                TokenTree::Punct(punct)
                    if punct.as_char() == '>'
                        && !matches!(at.checked_sub(1).and_then(|at| header.get(at)),
                        Some(TokenTree::Punct(dash)) if dash.as_char() == '-') =>
                {
                    depth = depth.saturating_sub(1);
                    if depth == 0 && parts.len() == 1 && self.is_generics(header, at) {
                        // `impl<...>`: what came was its parameters.
                        parts = vec![Vec::new()];
                        continue;
                    }
                }
                TokenTree::Ident(word) if depth == 0 && word == "for" => {
                    parts.push(Vec::new());
                    continue;
                }
                TokenTree::Ident(word) if depth == 0 && word == "where" => break,
                _ => {}
            }
            if let Some(part) = parts.last_mut() {
                part.push(*token);
            }
        }
        let ty = parts.pop().map(|part| self.text(&part)).unwrap_or_default();
        (parts.pop().map(|part| self.text(&part)), ty)
    }

    /// Whether the list that ends at `end` is the one that begins the header.
    fn is_generics(&self, header: &[&TokenTree], end: usize) -> bool {
        let mut depth = 0usize;
        for (at, token) in header.iter().enumerate() {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '<' => depth += 1,
                TokenTree::Punct(punct) if punct.as_char() == '>' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return at == end;
                    }
                }
                _ if at == 0 => return false,
                _ => {}
            }
        }
        false
    }

    /// The source of these tokens, on one line.
    fn text(&self, tokens: &[&TokenTree]) -> String {
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else {
            return String::new();
        };
        let (start, end) = (
            first.span().byte_range().start,
            last.span().byte_range().end,
        );
        let text = self.source.get(start..end).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// From the word `extern`: a block of foreign functions, or the ABI of a function.
    fn foreign(&mut self, tokens: &[TokenTree], at: usize, span: Span) -> usize {
        let after = at + 1 + usize::from(matches!(tokens.get(at + 1), Some(TokenTree::Literal(_))));
        if braces(tokens.get(after)).is_some() {
            let relies_on = self.comments.any_above(span.start().line);
            self.path.push("extern".into());
            self.add(Kind::Foreign, span, relies_on);
            self.path.pop();
        }
        at + 1
    }

    fn named(&mut self, tokens: &[TokenTree], at: usize, name: Option<String>) -> usize {
        let Some(name) = name else {
            return at + 1;
        };
        self.path.push(name);
        let end = self.body(tokens, at);
        self.path.pop();
        end
    }

    /// Walks the next braces before the item ends. Returns where to go on.
    fn body(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        for (offset, token) in tokens.iter().enumerate().skip(at + 1) {
            if let Some(group) = braces(Some(token)) {
                self.walk(group.stream());
                return offset + 1;
            }
            if matches!(token, TokenTree::Punct(punct) if punct.as_char() == ';') {
                return offset + 1;
            }
        }
        tokens.len()
    }

    fn add(&mut self, kind: Kind, span: Span, relies_on: Result<String, String>) {
        let item = self.path.join("::");
        let number = 1 + self
            .places
            .iter()
            .filter(|place| place.item == item)
            .count();
        self.places.push(Place {
            item,
            number,
            kind,
            line: span.start().line,
            relies_on,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(source: &str) -> Vec<String> {
        scan(source)
            .expect("tokens")
            .iter()
            .map(|place| format!("{} {}#{}", place.kind, place.item, place.number))
            .collect()
    }

    #[test]
    fn every_form_is_found_under_its_item() {
        let source = r#"
            // What C has.
            extern "C" { fn c(); }
            unsafe trait Tr<'a, R>: Sized { unsafe fn m(raw: R) -> Self; }
            // SAFETY: a
            unsafe impl<'a, L> Tr<'a, (u8, L)> for &'a [u8] where L: Copy {
                unsafe fn m(raw: (u8, L)) -> Self { unsafe { x() } }
            }
            impl<T: Fn() -> u8> Drop for Holder<T> {
                fn drop(&mut self) { unsafe { x() }; let f = || unsafe { y() }; }
            }
            impl Holder<u8> {
                fn new(f: impl Fn(u8)) -> impl Init { unsafe { x() } }
                extern "C" fn callback(p: unsafe extern "C" fn(u8)) { }
            }
            macro_rules! shims { ($($name:ident)*) => { mod shim { $(
                pub(super) unsafe extern "C" fn $name() { unsafe { x() } }
            )* } } }
            const X: u8 = 1;
        "#;
        assert_eq!(
            items(source),
            [
                "extern extern#1",
                "trait Tr#1",
                "fn Tr::m#1",
                "impl Tr<'a, (u8, L)> for &'a [u8]#1",
                "fn Tr<'a, (u8, L)> for &'a [u8]::m#1",
                "block Tr<'a, (u8, L)> for &'a [u8]::m#2",
                "block Holder::drop#1",
                "block Holder::drop#2",
                "block Holder::new#1",
                "fn shims!::shim::$name#1",
                "block shims!::shim::$name#2",
            ]
        );
    }

    #[test]
    fn what_only_looks_like_it_is_not_found() {
        let source = r##"
            //! unsafe { }
            #![forbid(unsafe_code)]
            const A: &str = "unsafe { }";
            const B: &str = r#"unsafe impl"#;
            /* unsafe fn x() {} */
        "##;
        assert!(items(source).is_empty());
    }

    #[test]
    fn an_unknown_form_is_an_error() {
        let places = scan("#[unsafe(no_mangle)] fn x() {}").expect("tokens");
        assert!(places.first().is_some_and(|place| place.relies_on.is_err()));
    }
}
