use super::*;

type Fields = Vec<(String, String)>;

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

fn decode(decoder: &mut Decoder, block: &str) -> Result<Fields, HpackError> {
    let mut fields = Fields::new();
    decoder.decode(&hex(block), |name, value| {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        fields.push((text(name), text(value)));
    })?;
    Ok(fields)
}

fn fields(list: &[(&str, &str)]) -> Fields {
    list.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

const REQUESTS: [&[(&str, &str)]; 3] = [
    &[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
    ],
    &[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
        ("cache-control", "no-cache"),
    ],
    &[
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ],
];

/// RFC 7541, C.2.
#[test]
fn single_fields_of_the_standard_decode() {
    let mut decoder = Decoder::new(4096);
    let indexed = "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572";
    assert_eq!(
        decode(&mut decoder, indexed).unwrap(),
        fields(&[("custom-key", "custom-header")])
    );
    assert_eq!(decoder.table.size(), 55);
    let plain = "040c 2f73 616d 706c 652f 7061 7468";
    assert_eq!(
        decode(&mut decoder, plain).unwrap(),
        fields(&[(":path", "/sample/path")])
    );
    let never = "1008 7061 7373 776f 7264 0673 6563 7265 74";
    assert_eq!(
        decode(&mut decoder, never).unwrap(),
        fields(&[("password", "secret")])
    );
    assert_eq!(
        decode(&mut decoder, "82").unwrap(),
        fields(&[(":method", "GET")])
    );
    assert_eq!(decoder.table.size(), 55);
}

/// RFC 7541, C.3.
#[test]
fn requests_of_the_standard_decode_without_huffman() {
    let blocks = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let mut decoder = Decoder::new(4096);
    for ((block, expected), size) in blocks.into_iter().zip(REQUESTS).zip([57, 110, 164]) {
        assert_eq!(decode(&mut decoder, block).unwrap(), fields(expected));
        assert_eq!(decoder.table.size(), size);
    }
}

/// RFC 7541, C.4.
#[test]
fn requests_of_the_standard_decode_with_huffman() {
    let blocks = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    let mut decoder = Decoder::new(4096);
    for ((block, expected), size) in blocks.into_iter().zip(REQUESTS).zip([57, 110, 164]) {
        assert_eq!(decode(&mut decoder, block).unwrap(), fields(expected));
        assert_eq!(decoder.table.size(), size);
    }
}

/// RFC 7541, C.6: a table of 256 bytes, from which fields are evicted.
#[test]
fn responses_of_the_standard_decode_while_fields_are_evicted() {
    let blocks = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 \
         2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab \
         77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f \
         9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    let (early, late) = (
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
    );
    let control = ("cache-control", "private");
    let location = ("location", "https://www.example.com");
    let cookie = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
    let expected: [&[(&str, &str)]; 3] = [
        &[(":status", "302"), control, early, location],
        &[(":status", "307"), control, early, location],
        &[
            (":status", "200"),
            control,
            late,
            location,
            ("content-encoding", "gzip"),
            ("set-cookie", cookie),
        ],
    ];
    let mut decoder = Decoder::new(4096);
    decoder.table.limit(256);
    for ((block, expected), size) in blocks.into_iter().zip(expected).zip([222, 222, 215]) {
        assert_eq!(decode(&mut decoder, block).unwrap(), fields(expected));
        assert_eq!(decoder.table.size(), size);
    }
}

#[test]
fn what_the_standard_forbids_is_an_error() {
    for (block, why) in [
        ("80", "index 0"),
        ("be", "an index past the end of both tables"),
        ("ff ff ff ff 7f", "an integer without end"),
        ("40 0a 63", "a string that is cut off"),
        ("82 20", "a change of the table's size after a field"),
        ("3f e2 1f", "a table above the limit"),
        ("00 81 ff 00", "a string that is nothing but padding"),
    ] {
        let mut decoder = Decoder::new(4096);
        assert_eq!(decode(&mut decoder, block), Err(HpackError), "{why}");
    }
}

#[test]
fn a_list_of_fields_beyond_the_limit_is_an_error() {
    let mut decoder = Decoder::new(100);
    // Each counts for 42 bytes.
    assert!(decode(&mut decoder, "82 82").is_ok());
    assert_eq!(decode(&mut decoder, "82 82 82"), Err(HpackError));
}

#[test]
fn a_client_that_indexes_no_more_leaves_an_empty_table() {
    let mut decoder = Decoder::new(4096);
    decode(&mut decoder, "400a 6375 7374 6f6d 2d6b 6579 0161").unwrap();
    assert_ne!(decoder.table.size(), 0);
    decoder.stop_indexing();
    assert_eq!(decoder.table.size(), 0);
    assert_eq!(decode(&mut decoder, "be"), Err(HpackError));
    assert!(decode(&mut decoder, "20 82").is_ok());
}
