use super::*;
use proptest::prelude::*;

fn token_uri(text: &str) -> TokenUri {
    let uri: KeyUri = text.parse().unwrap();
    uri.token().unwrap().clone()
}

fn fault(text: &str) -> String {
    text.parse::<KeyUri>().unwrap_err().to_string()
}

#[test]
fn every_attribute_is_read_and_written_again() {
    let text = "pkcs11:token=My%20token;manufacturer=Infineon;serial=0001;model=SLB9670;object=device%3Bkey;\
                id=%00%FFa;type=private;slot-id=3;x-site=7\
                ?module-path=/usr/lib/a%20b.so&module-name=tpm2_pkcs11&pin-source=file:/run/pin&x-hint=1";
    let uri = token_uri(text);
    assert_eq!(uri.token.as_deref(), Some("My token"));
    assert_eq!(uri.manufacturer.as_deref(), Some("Infineon"));
    assert_eq!(uri.serial.as_deref(), Some("0001"));
    assert_eq!(uri.model.as_deref(), Some("SLB9670"));
    assert_eq!(uri.object.as_deref(), Some("device;key"));
    assert_eq!(uri.id.as_deref(), Some(&[0, 255, b'a'][..]));
    assert_eq!(uri.class, Some(ObjectClass::Private));
    assert_eq!(uri.slot, Some(3));
    assert_eq!(uri.module_path, Some("/usr/lib/a b.so".into()));
    assert_eq!(uri.module_name.as_deref(), Some("tpm2_pkcs11"));
    assert_eq!(uri.pin, Some(PinFrom::File("/run/pin".into())));
    assert_eq!(
        uri.others,
        [
            ("x-site".into(), b"7".to_vec(), false),
            ("x-hint".into(), b"1".to_vec(), true)
        ]
    );
    assert_eq!(token_uri(&uri.to_string()), uri);
}

#[test]
fn a_plain_path_is_a_file() {
    for path in [
        "/etc/key.pem",
        "key.pem",
        "./a:b",
        "/x/pkcs11:token=a",
        "C/d:e",
    ] {
        assert_eq!(path.parse(), Ok(KeyUri::File(path.into())));
    }
}

#[test]
fn file_uris_have_three_forms_and_no_other_host() {
    for text in [
        "file:/a/b%20c",
        "file:///a/b%20c",
        "FILE://localhost/a/b%20c",
    ] {
        assert_eq!(text.parse(), Ok(KeyUri::File("/a/b c".into())), "{text}");
    }
    assert_eq!("file:a.pem".parse(), Ok(KeyUri::File("a.pem".into())));
    for text in [
        "file://host/a",
        "file://a.pem",
        "file:",
        "file:///%zz",
        "file:/%00",
    ] {
        assert!(text.parse::<KeyUri>().is_err(), "{text}");
    }
}

#[test]
fn the_pin_is_in_no_output() {
    for text in [
        "pkcs11:token=a;object=b?pin-value=98%37654",
        "pkcs11:token=a;object=b;pin-value=987654",
    ] {
        let uri: KeyUri = text.parse().unwrap();
        let Some(PinFrom::Value(pin)) = uri.pin() else {
            panic!("{uri:?}")
        };
        assert_eq!(pin.expose(), "987654");
        let all = format!(
            "{uri} {uri:?} {:?} {:?} {:?}",
            uri.token(),
            uri.pin(),
            uri.warnings()
        );
        assert!(!all.contains("987654"), "{all}");
        assert!(
            uri.warnings()
                .iter()
                .any(|w| w.contains("pin-source=file:"))
        );
    }
}

#[test]
fn the_pin_is_in_no_error() {
    for text in [
        "pkcs11:token=a?pin-value=98765&pin-value=98765",
        "pkcs11:token=a?pin-value=98765%",
        "pkcs11:token=a?pin-value=98765#",
        "pkcs11:token=a?pin-value=0&98765",
        "pkcs11:token=a;pin-value=0;98765",
        "pkcs11:token=a?pin-value=98765&pin-source=/x",
        "pkcs11:token=a?pin-value=%FF98765",
        "pkcs11:pin-value=98765",
    ] {
        assert!(!fault(text).contains("98765"), "{}", fault(text));
    }
}

#[test]
fn errors_point_at_the_attribute() {
    let cases = [
        (
            "pkcs11:token=a;slot-id=x",
            "slot-id at character 16",
            "decimal",
        ),
        ("pkcs11:token=a;slot-id=+1", "slot-id", "decimal"),
        (
            "pkcs11:type=key;token=a",
            "type at character 8",
            "private, public",
        ),
        ("pkcs11:token=a;token=b", "token at character 16", "twice"),
        ("pkcs11:token=a;x=1;x=2", "x at", "twice"),
        ("pkcs11:token=%GG", "token", "hexadecimal"),
        ("pkcs11:token=%FF", "token", "UTF-8"),
        ("pkcs11:token=a;id=", "id", "empty"),
        (
            "pkcs11:token=a?object=b",
            "object",
            "before the question mark",
        ),
        (
            "pkcs11:token=a?pin-source=|cat /pin",
            "pin-source",
            "refused",
        ),
        (
            "pkcs11:token=a?pin-source=%7Ccat%20/pin",
            "pin-source",
            "refused",
        ),
        ("pkcs11:token=a?pin-source=pin", "pin-source", "absolute"),
        (
            "pkcs11:token=a?module-name=../x",
            "module-name",
            "plain name",
        ),
        ("pkcs11:token=a;=b", "without a proper name", "characters"),
    ];
    for (text, attribute, why) in cases {
        let message = fault(text);
        assert!(
            message.contains(attribute) && message.contains(why),
            "{text}: {message}"
        );
    }
}

#[test]
fn a_uri_must_name_something() {
    assert_eq!("pkcs11:".parse::<KeyUri>(), Err(UriError::NothingNamed));
    assert_eq!(
        "pkcs11:?module-path=/x".parse::<KeyUri>(),
        Err(UriError::NothingNamed)
    );
    assert_eq!("".parse::<KeyUri>(), Err(UriError::Empty));
}

#[test]
fn another_scheme_says_what_to_write_instead() {
    assert!(fault("handle:0x81000002").contains("tpm2_ptool link"));
    assert!(fault("https://example.com/key").contains("file: or pkcs11:"));
}

#[test]
fn the_forms_in_use_elsewhere_are_understood() {
    let classic = token_uri("pkcs11:object=iotkey;type=private");
    assert_eq!(classic.object.as_deref(), Some("iotkey"));
    let lite = token_uri("pkcs11:token=ggl;object=key;pin-value=1234");
    assert!(lite.pin.is_some());
    assert_eq!(lite.warnings.len(), 2);
    assert!(token_uri("PKCS11:;token=a;;object=b;").object.is_some());
}

fn text() -> impl Strategy<Value = Option<String>> {
    proptest::option::of("\\PC{1,12}")
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        token in text(), object in text(), serial in text(), name in "[a-z]{1,8}",
        id in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..20)),
        slot in proptest::option::of(any::<u64>()), other in proptest::collection::vec(any::<u8>(), 0..9),
    ) {
        let uri = TokenUri {
            token: token.or(Some("t".into())), object, serial, id, slot,
            pin: Some(PinFrom::File("/a b/ü&?".into())),
            others: vec![(format!("x-{name}"), other.clone(), false), (format!("x-{name}"), other, true)],
            ..TokenUri::default()
        };
        prop_assert_eq!(token_uri(&uri.to_string()), uri);
    }

    #[test]
    fn any_path_is_written_and_read_back(bytes in proptest::collection::vec(1..=255_u8, 1..40)) {
        let uri = KeyUri::File(path_of(bytes));
        prop_assert_eq!(uri.to_string().parse(), Ok(uri));
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC*", rest in "(pkcs11:|file:)[a-z=;&?%0-9:/-]*") {
        let _ = text.parse::<KeyUri>();
        let _ = rest.parse::<KeyUri>();
    }
}
