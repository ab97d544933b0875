//! What the client's encoding means for reading its text byte by byte.

/// How a text's bytes form characters, as far as the lexer and error positions care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    /// UTF-8.
    #[default]
    Utf8,
    /// One byte is one character (LATIN1, WIN1252, KOI8R, SQL_ASCII ..).
    SingleByte,
    /// Several bytes per character in a way that is not followed here: trail bytes may be ASCII (SJIS, BIG5,
    /// GBK, GB18030, UHC, JOHAB, SHIFT_JIS_2004), or character lengths are unknown (EUC_*, MULE_INTERNAL,
    /// names that PostgreSQL has not got today). A text of ASCII alone is still safe.
    Unsafe,
}

impl Encoding {
    /// The encoding of a name as ParameterStatus reports `client_encoding` (any case). Unknown: [`Self::Unsafe`].
    pub fn from_name(name: &[u8]) -> Self {
        const SINGLE_BYTE: [&str; 28] = [
            "SQL_ASCII",
            "LATIN1",
            "LATIN2",
            "LATIN3",
            "LATIN4",
            "LATIN5",
            "LATIN6",
            "LATIN7",
            "LATIN8",
            "LATIN9",
            "LATIN10",
            "ISO_8859_5",
            "ISO_8859_6",
            "ISO_8859_7",
            "ISO_8859_8",
            "KOI8R",
            "KOI8U",
            "WIN866",
            "WIN874",
            "WIN1250",
            "WIN1251",
            "WIN1252",
            "WIN1253",
            "WIN1254",
            "WIN1255",
            "WIN1256",
            "WIN1257",
            "WIN1258",
        ];
        let is = |known: &&str| name.eq_ignore_ascii_case(known.as_bytes());
        if ["UTF8", "UTF-8", "UNICODE"].iter().any(is) {
            Self::Utf8
        } else if SINGLE_BYTE.iter().any(is) {
            Self::SingleByte
        } else {
            Self::Unsafe
        }
    }

    /// The encoding that counts for a session: the server does not convert if either side is SQL_ASCII, and
    /// then reads the bytes (and counts characters for error positions) in its own encoding.
    pub fn from_settings(client_encoding: &[u8], server_encoding: &[u8]) -> Self {
        let client = Self::from_name(client_encoding);
        if client == Self::Unsafe {
            client
        } else if server_encoding.eq_ignore_ascii_case(b"SQL_ASCII") {
            Self::SingleByte
        } else if client_encoding.eq_ignore_ascii_case(b"SQL_ASCII") {
            Self::from_name(server_encoding)
        } else {
            client
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Encoding;

    #[test]
    fn names() {
        for (name, want) in [
            ("UTF8", Encoding::Utf8),
            ("utf8", Encoding::Utf8),
            ("UNICODE", Encoding::Utf8),
            ("LATIN1", Encoding::SingleByte),
            ("WIN1252", Encoding::SingleByte),
            ("SQL_ASCII", Encoding::SingleByte),
            ("SJIS", Encoding::Unsafe),
            ("GB18030", Encoding::Unsafe),
            ("EUC_JP", Encoding::Unsafe),
            ("", Encoding::Unsafe),
            ("KLINGON", Encoding::Unsafe),
        ] {
            assert_eq!(Encoding::from_name(name.as_bytes()), want, "{name}");
        }
    }

    #[test]
    fn either_side_may_be_sql_ascii() {
        for (client, server, want) in [
            ("UTF8", "UTF8", Encoding::Utf8),
            ("LATIN1", "UTF8", Encoding::SingleByte),
            ("SQL_ASCII", "UTF8", Encoding::Utf8),
            ("UTF8", "SQL_ASCII", Encoding::SingleByte),
            ("SQL_ASCII", "SQL_ASCII", Encoding::SingleByte),
            ("SQL_ASCII", "EUC_JP", Encoding::Unsafe),
            ("SJIS", "SQL_ASCII", Encoding::Unsafe),
        ] {
            assert_eq!(
                Encoding::from_settings(client.as_bytes(), server.as_bytes()),
                want,
                "{client} {server}"
            );
        }
    }
}
