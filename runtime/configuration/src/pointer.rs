//! JSON pointers, RFC 6901: how resets and messages name a place in the tree.

/// The keys of a pointer; `None` when it is none (neither empty nor starting with `/`, or a `~` without 0 or 1).
pub fn parse_pointer(pointer: &str) -> Option<Vec<String>> {
    if pointer.is_empty() {
        return Some(Vec::new());
    }
    pointer
        .strip_prefix('/')?
        .split('/')
        .map(unescape)
        .collect()
}

/// The pointer of a path, for people and for the table.
pub fn pointer_of<S: AsRef<str>>(path: &[S]) -> String {
    let mut pointer = String::new();
    for key in path {
        push_key(&mut pointer, key.as_ref());
    }
    pointer
}

pub(crate) fn push_key(pointer: &mut String, key: &str) {
    pointer.push('/');
    for c in key.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
}

fn unescape(text: &str) -> Option<String> {
    let mut key = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        key.push(match c {
            '~' => match chars.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            c => c,
        });
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_reads_as_the_standard_says() {
        let keys = |p| parse_pointer(p).map(|k| k.join("|"));
        assert_eq!(parse_pointer(""), Some(vec![]));
        assert_eq!(parse_pointer("/"), Some(vec![String::new()]));
        assert_eq!(keys("/a~1b/m~0n/~01"), Some("a/b|m~n|~1".into()));
        assert_eq!(keys("a"), None);
        assert_eq!(keys("/a~"), None);
        assert_eq!(keys("/a~2"), None);
    }

    #[test]
    fn a_path_survives_its_pointer() {
        let path = ["a/b", "~1", "", "ü"];
        assert_eq!(parse_pointer(&pointer_of(&path)).unwrap(), path);
    }
}
