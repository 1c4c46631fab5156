//! The syntax of a row of a category feed: `domain[/path]`, a tab, codes.

use policy::name::NameBuffer;

/// Separators of codes.
const SEPARATORS: &[u8] = b",; \t\r\n\x0c";

/// The parts of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row<'a> {
    /// The host.
    pub(crate) name: &'a [u8],
    /// The URL path, with its leading slash.
    pub(crate) path: Option<&'a [u8]>,
    codes: &'a [u8],
}

impl<'a> Row<'a> {
    /// Parses a row that is neither empty nor a comment. The codes follow the first tab; without a
    /// tab they follow the first other separator, unless that may be part of a path.
    pub(crate) fn parse(row: &'a [u8]) -> Self {
        let tab = row.iter().position(|&octet| octet == b'\t');
        let end = tab.or_else(|| {
            row.iter()
                .position(|octet| SEPARATORS.contains(octet))
                .filter(|&at| !row[..at].contains(&b'/'))
        });
        let (key, codes) = end.map_or((row, &[][..]), |at| {
            (&row[..at], row[at + 1..].trim_ascii())
        });
        let key = key.trim_ascii();
        let slash = key
            .iter()
            .position(|&octet| octet == b'/')
            .unwrap_or(key.len());
        let codes = if codes == b"-" { &[][..] } else { codes };
        Self {
            name: &key[..slash],
            path: (slash < key.len()).then(|| &key[slash..]),
            codes,
        }
    }

    pub(crate) fn codes(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.codes
            .split(|octet| SEPARATORS.contains(octet))
            .filter(|code| !code.is_empty())
    }

    /// The canonical key of a row: a name has one row, however it is written. An invalid name is
    /// kept in one piece.
    pub(crate) fn key(&self) -> Vec<u8> {
        let mut buffer = NameBuffer::new();
        let plain = |octet: &u8| {
            if SEPARATORS.contains(octet) {
                b'?'
            } else {
                octet.to_ascii_lowercase()
            }
        };
        let mut key: Vec<u8> = match if self.name.is_ascii() {
            None
        } else {
            buffer.parse(self.name).ok()
        } {
            Some(name) => name.to_string().into_bytes(),
            None => self
                .name
                .strip_suffix(b".")
                .unwrap_or(self.name)
                .iter()
                .map(plain)
                .collect(),
        };
        key.extend_from_slice(self.path.unwrap_or_default());
        key
    }

    /// The canonical row: key, tab, codes separated by commas.
    pub(crate) fn normal(&self) -> Vec<u8> {
        let mut row = self.key();
        for (place, code) in self.codes().enumerate() {
            row.push(if place == 0 { b'\t' } else { b',' });
            row.extend_from_slice(code);
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_name_perhaps_a_path_and_codes_in_any_way_of_writing() {
        let check = |text: &str, normal: &str, path: Option<&str>| {
            let row = Row::parse(text.as_bytes());
            assert_eq!(String::from_utf8(row.normal()).unwrap(), normal, "{text:?}");
            assert_eq!(row.path, path.map(str::as_bytes), "{text:?}");
        };
        check("a.example\t1", "a.example\t1", None);
        check("A.Example.\t1,2;3 4\t5", "a.example\t1,2,3,4,5", None);
        check("a.example,1,2", "a.example\t1,2", None);
        check("a.example 1", "a.example\t1", None);
        check(
            "A.example/Path,x y\t7",
            "a.example/Path,x y\t7",
            Some("/Path,x y"),
        );
        check("a.example/\t7", "a.example/\t7", Some("/"));
        check("a.example/a,b", "a.example/a,b", Some("/a,b"));
        check("a.example", "a.example", None);
        check("a.example\t-", "a.example", None);
        check("a.example\t", "a.example", None);
        check("\t1", "\t1", None);
        check("BÜCHER.example.\t1", "xn--bcher-kva.example\t1", None);
        check("no name\t1", "no?name\t1", None);
        check(
            "no name/Path, here\t1",
            "no?name/Path, here\t1",
            Some("/Path, here"),
        );
    }
}
