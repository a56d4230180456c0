//! The bytes of every frame, field by field, and what the decoder does with other bytes.
//!
//! The tables are the wire: a change here is a change of the protocol and needs a new
//! [`VERSION`](crate::wire::VERSION).

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::Side;
use crate::wire::{DATA_PAYLOAD_BYTES, Decoder, Item};

/// The fields of one frame in hexadecimal, each with its name.
type Fields = Vec<(&'static str, &'static str)>;

const CNAPT: CnaptId = CnaptId([0xc1; 32]);
const CNAPT_HEX: &str = "c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1";

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    digits
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).expect("ASCII");
            u8::from_str_radix(pair, 16).expect("hexadecimal digits")
        })
        .collect()
}

fn bytes_of(fields: &Fields) -> Vec<u8> {
    fields.iter().flat_map(|(hex, _)| from_hex(hex)).collect()
}

fn encoded(frame: &Frame) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(&mut out, frame);
    out.to_vec()
}

/// Everything that `bytes` hold, fed to the decoder in pieces cut at `cuts`; payloads are joined.
fn decoded(bytes: &[u8], cuts: &[usize]) -> Result<(Vec<Frame>, Vec<Payload>), WireError> {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    let mut payloads: Vec<Payload> = Vec::new();
    let mut start = 0;
    for cut in cuts.iter().copied().chain([bytes.len()]) {
        let mut input = &bytes[start..cut];
        start = cut;
        while let Some(item) = decoder.next(&mut input)? {
            match item {
                Item::Frame(frame) => frames.push(frame),
                Item::Data {
                    stream,
                    offset,
                    bytes,
                } => join(&mut payloads, stream, offset, bytes),
            }
        }
        assert!(input.is_empty(), "the decoder takes all that it is given");
    }
    assert!(decoder.is_at_boundary());
    Ok((frames, payloads))
}

type Payload = (StreamId, u64, Vec<u8>);

fn join(payloads: &mut Vec<Payload>, stream: StreamId, offset: u64, bytes: &[u8]) {
    assert!(!bytes.is_empty(), "a piece is never empty");
    match payloads.last_mut() {
        Some((of, first, known)) if *of == stream && *first + known.len() as u64 == offset => {
            known.extend_from_slice(bytes);
        }
        Some(_) | None => payloads.push((stream, offset, bytes.to_vec())),
    }
}

fn services() -> Vec<CatalogueEntry> {
    let entry = |name: &str, protocol, ports| CatalogueEntry {
        name: name.to_owned(),
        protocol,
        ports,
    };
    vec![
        entry("web", TransportProtocol::Tcp, 8080..=8080),
        entry("rtp", TransportProtocol::Udp, 10_000..=10_100),
    ]
}

/// Frames that begin and end a conduit or a link.
fn link_frames() -> Vec<(Frame, Fields)> {
    let hello = Hello {
        oldest: 1,
        newest: 2,
        role: Role::Conduit,
        instance: Instance(0x0102_0304_0506_0708),
        link: LinkNumber(9),
    };
    let attach = Attach {
        cnapt: CNAPT,
        session: 0x11,
        snapt: Instance(0x22),
        initial_limit: 0x4000,
        streams: 0x1000,
        flow_idle: Duration::from_secs(120),
        services: services(),
    };
    vec![
        (
            Frame::Hello(hello),
            vec![
                ("01 000011", "HELLO, 17 bytes"),
                ("0001", "oldest version"),
                ("0002", "newest version"),
                ("01", "role: 0 control, 1 conduit"),
                ("0102030405060708", "instance"),
                ("00000009", "link"),
            ],
        ),
        (
            Frame::Use {
                number: 7,
                purpose: Purpose::Datagrams,
            },
            vec![
                ("02 000009", "USE, 9 bytes"),
                ("0000000000000007", "switch number"),
                ("01", "purpose: 0 streams, 1 datagrams"),
            ],
        ),
        (
            Frame::Attach(attach),
            vec![
                ("03 000050", "ATTACH, 80 bytes"),
                (CNAPT_HEX, "CNAPT ID"),
                ("0000000000000011", "session"),
                ("0000000000000022", "SNAPT instance"),
                ("00004000", "initial limit"),
                ("00001000", "streams"),
                ("00000078", "flow idle, seconds"),
                ("0002", "services"),
                ("03 776562", "name"),
                ("00", "protocol: TCP"),
                ("1f90 1f90", "first and last port"),
                ("03 727470", "name"),
                ("01", "protocol: UDP"),
                ("2710 2774", "first and last port"),
            ],
        ),
        (attached_frame(), attached_fields()),
        (Frame::Detach, vec![("12 000000", "DETACH, no body")]),
    ]
}

fn attached_frame() -> Frame {
    Frame::Attached(Attached {
        snapt: Instance(0x22),
        session: 0x11,
        virtual_ip: IpAddr::V4(Ipv4Addr::new(127, 77, 0, 10)),
        initial_limit: 0x4000,
        streams: 0x1000,
        flow_idle: Duration::from_secs(120),
        services: services().into_iter().take(1).collect(),
    })
}

fn attached_fields() -> Fields {
    vec![
        ("04 000037", "ATTACHED, 55 bytes"),
        ("0000000000000022", "SNAPT instance"),
        ("0000000000000011", "session"),
        (
            "00000000000000000000ffff 7f4d000a",
            "virtual IP, an IPv4 address in its mapped form",
        ),
        ("00004000", "initial limit"),
        ("00001000", "streams"),
        ("00000078", "flow idle, seconds"),
        ("0001", "services"),
        ("03 776562", "name"),
        ("00", "protocol: TCP"),
        ("1f90 1f90", "first and last port"),
    ]
}

fn small_control_frames() -> Vec<(Frame, Fields)> {
    vec![
        (
            Frame::Probe { token: 5 },
            vec![("0e 000008", "PROBE"), ("0000000000000005", "token")],
        ),
        (
            Frame::ProbeReply { token: 5 },
            vec![("0f 000008", "PROBE_REPLY"), ("0000000000000005", "token")],
        ),
        (
            Frame::Trail(Trail {
                number: 2,
                gap_micros: None,
                steps: vec![(Step::cnapt(34), 0), (Step::snapt_star(0), 0x1_0000)],
            }),
            vec![
                ("10 000026", "TRAIL, 38 bytes"),
                ("0000000000000002", "switch number"),
                ("ffffffffffffffff", "gap in microseconds, all ones: none"),
                ("0002", "steps"),
                ("00 22", "sequence and number: CNAPT-34"),
                ("0000000000000000", "microseconds since the first"),
                ("03 00", "sequence and number: SNAPT-0*"),
                ("0000000000010000", "microseconds since the first"),
            ],
        ),
        (
            Frame::Refused {
                code: RefusedCode::Superseded,
            },
            vec![("11 000001", "REFUSED"), ("01", "code: superseded")],
        ),
        (
            Frame::Dial { conduits: 3 },
            vec![("13 000004", "DIAL"), ("00000003", "conduits")],
        ),
        (
            Frame::Stalled {
                number: 2,
                lost: true,
            },
            vec![
                ("15 000009", "STALLED"),
                ("0000000000000002", "switch number"),
                ("01", "lost"),
            ],
        ),
        (
            Frame::Offered {
                services: vec![
                    offered("agent", OfferState::Listening),
                    offered("ssh", OfferState::NotAllowed { port: 22 }),
                ],
            },
            vec![
                ("14 000012", "OFFERED, 18 bytes"),
                ("0002", "services"),
                ("05 6167656e74", "name"),
                ("00 0000", "listening"),
                ("03 737368", "name"),
                ("01 0016", "not allowed, port"),
            ],
        ),
    ]
}

fn offered(name: &str, state: OfferState) -> OfferedService {
    OfferedService {
        name: name.to_owned(),
        state,
    }
}

fn renew_frame() -> (Frame, Fields) {
    let entry = |index, end, stop| RenewEntry {
        stream: StreamId::new(Side::Cnapt, index),
        arrived: 0x100,
        limit: 0x4100,
        end,
        stop,
    };
    let abort = Some(End::Abort { last: 9, code: 1 });
    let renew = Renew {
        number: 3,
        floor: 2,
        last: true,
        entries: vec![
            entry(2, None, None),
            entry(3, Some(End::Fin { last: 9 }), None),
            entry(4, abort, Some(5)),
        ],
    };
    let fields = vec![
        ("05 000072", "RENEW, 114 bytes"),
        ("0000000000000003", "switch number"),
        ("0000000000000002", "floor"),
        ("01", "last piece"),
        ("0003", "streams"),
        ("0000000000000004", "stream c2"),
        ("00", "flags: no end, no stop"),
        ("0000000000000100", "arrived"),
        ("0000000000004100", "limit"),
        ("0000000000000006", "stream c3"),
        ("01", "flags: FIN"),
        ("0000000000000100", "arrived"),
        ("0000000000004100", "limit"),
        ("0000000000000009", "FIN's last"),
        ("0000000000000008", "stream c4"),
        ("06", "flags: ABORT and STOP"),
        ("0000000000000100", "arrived"),
        ("0000000000004100", "limit"),
        ("0000000000000009 0001", "ABORT's last and code"),
        ("0005", "STOP's code"),
    ];
    (Frame::Renew(renew), fields)
}

/// The switch messages of the spec.
fn switch_frames() -> Vec<(Frame, Fields)> {
    const NUMBER: (&str, &str) = ("0000000000000002", "switch number");
    vec![
        (
            Frame::SwitchStep1 {
                number: 2,
                cnapt: CNAPT,
                conduits: 3,
            },
            vec![
                ("06 00002c", "SWITCH_STEP1, 44 bytes"),
                NUMBER,
                (CNAPT_HEX, "CNAPT ID"),
                ("00000003", "numbered conduits"),
            ],
        ),
        (Frame::Ack { number: 2 }, vec![("07 000008", "ACK"), NUMBER]),
        (
            Frame::OkToRedirection {
                number: 2,
                complete: true,
            },
            vec![
                ("08 000009", "OK_TO_REDIRECTION"),
                NUMBER,
                ("01", "complete"),
            ],
        ),
        (
            Frame::ClientServicesReadyForRedirection { number: 2 },
            vec![
                ("09 000008", "CLIENT_SERVICES_READY_FOR_REDIRECTION"),
                NUMBER,
            ],
        ),
        (
            Frame::ServerServicesReadyForRedirection { number: 2 },
            vec![
                ("0a 000008", "SERVER_SERVICES_READY_FOR_REDIRECTION"),
                NUMBER,
            ],
        ),
    ]
}

fn moving_frames() -> Vec<(Frame, Fields)> {
    const NUMBER: (&str, &str) = ("0000000000000002", "switch number");
    vec![
        (
            Frame::SwitchStep2(Move {
                number: 2,
                cnapt: CNAPT,
                old: OldLink::Drained,
                kept: vec![],
            }),
            vec![
                ("0b 00002a", "SWITCH_STEP2, 42 bytes"),
                NUMBER,
                (CNAPT_HEX, "CNAPT ID"),
                ("00", "old link: drained"),
                ("00", "links kept"),
            ],
        ),
        (
            Frame::SwitchStep2(Move {
                number: 2,
                cnapt: CNAPT,
                old: OldLink::Draining { conduits: 3 },
                kept: vec![LinkNumber(1)],
            }),
            vec![
                ("0b 000032", "SWITCH_STEP2, 50 bytes"),
                NUMBER,
                (CNAPT_HEX, "CNAPT ID"),
                ("02 00000003", "old link: draining, conduits"),
                ("01 00000001", "links kept"),
            ],
        ),
        (
            Frame::SwitchUnexpected(Move {
                number: 2,
                cnapt: CNAPT,
                old: OldLink::Dead,
                kept: vec![],
            }),
            vec![
                ("0c 00002a", "SWITCH_UNEXPECTED, 42 bytes"),
                NUMBER,
                (CNAPT_HEX, "CNAPT ID"),
                ("01", "old link: dead"),
                ("00", "links kept"),
            ],
        ),
        (
            Frame::AllRedirected {
                number: 2,
                complete: false,
            },
            vec![
                ("0d 000009", "ALL_REDIRECTED"),
                NUMBER,
                ("00", "not complete"),
            ],
        ),
    ]
}

fn stream_frames() -> Vec<(Frame, Fields)> {
    const STREAM: (&str, &str) = ("0000000000000007", "stream s3");
    let stream = StreamId::new(Side::Snapt, 3);
    vec![
        (
            Frame::Open {
                stream,
                floor: 1,
                request: Request {
                    service: "web".to_owned(),
                    port: 8080,
                    origin: SocketAddr::from((Ipv4Addr::new(192, 168, 1, 7), 50_000)),
                },
            },
            vec![
                ("20 000028", "OPEN, 40 bytes"),
                STREAM,
                ("0000000000000001", "floor"),
                ("1f90", "port"),
                (
                    "00000000000000000000ffff c0a80107",
                    "origin, an IPv4 address in its mapped form",
                ),
                ("c350", "the origin's port"),
                ("03 776562", "service"),
            ],
        ),
        (
            Frame::Opened { stream },
            vec![("21 000008", "OPENED"), STREAM],
        ),
        (
            Frame::OpenRefused { stream, code: 3 },
            vec![("22 00000a", "OPEN_REFUSED"), STREAM, ("0003", "code")],
        ),
        (
            Frame::Received {
                stream,
                arrived: 0x100,
                limit: 0x4100,
            },
            vec![
                ("24 000018", "RECEIVED"),
                STREAM,
                ("0000000000000100", "arrived"),
                ("0000000000004100", "limit"),
            ],
        ),
        (
            Frame::Stop { stream, code: 5 },
            vec![("27 00000a", "STOP"), STREAM, ("0005", "code")],
        ),
        (
            Frame::Settled { stream },
            vec![("28 000008", "SETTLED"), STREAM],
        ),
        (
            Frame::LastMessageBeforeRedirection,
            vec![("29 000000", "LAST_MESSAGE_BEFORE_REDIRECTION, no body")],
        ),
    ]
}

fn end_frames() -> Vec<(Frame, Fields)> {
    let stream = StreamId::new(Side::Snapt, 3);
    vec![
        (
            Frame::End {
                stream,
                end: End::Fin { last: 9 },
            },
            vec![
                ("25 000010", "FIN"),
                ("0000000000000007", "stream s3"),
                ("0000000000000009", "last"),
            ],
        ),
        (
            Frame::End {
                stream,
                end: End::Abort { last: 9, code: 1 },
            },
            vec![
                ("26 000012", "ABORT"),
                ("0000000000000007", "stream s3"),
                ("0000000000000009", "last"),
                ("0001", "code"),
            ],
        ),
    ]
}

fn datagram_frame() -> (Frame, Fields) {
    let datagram = Datagram {
        flow: FlowId::new(Side::Cnapt, 3),
        sequence: 0x1234,
        request: Request {
            service: "rtp".to_owned(),
            port: 10_002,
            origin: SocketAddr::from((Ipv4Addr::new(192, 168, 1, 7), 50_000)),
        },
        payload: Bytes::from_static(b"hello"),
    };
    let fields = vec![
        ("2a 00002d", "DATAGRAM, 45 bytes"),
        ("0000000000000006", "flow c3"),
        ("0000000000001234", "sequence"),
        ("2712", "port"),
        (
            "00000000000000000000ffff c0a80107",
            "origin, an IPv4 address in its mapped form",
        ),
        ("c350", "the origin's port"),
        ("03 727470", "service"),
        ("68656c6c6f", "payload"),
    ];
    (Frame::Datagram(datagram), fields)
}

fn every_frame() -> Vec<(Frame, Fields)> {
    [
        link_frames(),
        vec![renew_frame()],
        switch_frames(),
        moving_frames(),
        small_control_frames(),
        stream_frames(),
        end_frames(),
        vec![datagram_frame()],
    ]
    .concat()
}

#[test]
fn every_frame_has_its_golden_bytes() {
    for (frame, fields) in every_frame() {
        let bytes = encoded(&frame);
        let mut rest = bytes.as_slice();
        for (hex, name) in &fields {
            let wanted = from_hex(hex);
            let (head, tail) = rest.split_at(wanted.len().min(rest.len()));
            assert_eq!(head, wanted, "{name} of {frame:?}");
            rest = tail;
        }
        assert!(rest.is_empty(), "{frame:?} goes on with {rest:02x?}");
    }
}

#[test]
fn the_table_leaves_no_frame_out() {
    let mut kinds: Vec<u8> = every_frame()
        .iter()
        .map(|(_, fields)| bytes_of(fields)[0])
        .chain([DATA])
        .collect();
    kinds.sort_unstable();
    let all: Vec<u8> = (HELLO..=STALLED).chain(OPEN..=DATAGRAM).collect();
    assert_eq!(kinds, all);
}

#[test]
fn data_is_a_header_before_the_callers_payload() {
    let mut out = BytesMut::new();
    encode_data_header(&mut out, StreamId::new(Side::Cnapt, 1), 0x1234, 3);
    let fields: Fields = vec![
        ("23 000013", "DATA, 19 bytes"),
        ("0000000000000002", "stream c1"),
        ("0000000000001234", "offset"),
    ];
    assert_eq!(out.to_vec(), bytes_of(&fields));
}

#[test]
fn input_may_be_split_anywhere() {
    let mut bytes = Vec::new();
    let mut frames = Vec::new();
    for (frame, fields) in every_frame() {
        bytes.extend(bytes_of(&fields));
        frames.push(frame);
    }
    let mut data = BytesMut::new();
    encode_data_header(&mut data, StreamId(2), 40, 5);
    data.extend_from_slice(b"hello");
    bytes.extend(data);
    bytes.extend(encoded(&Frame::Detach));
    frames.push(Frame::Detach);
    let payloads = vec![(StreamId(2), 40, b"hello".to_vec())];
    for cut in 0..=bytes.len() {
        let both = decoded(&bytes, &[cut]).expect("golden bytes");
        assert_eq!(both, (frames.clone(), payloads.clone()), "cut at {cut}");
    }
    let single: Vec<usize> = (0..bytes.len()).collect();
    let both = decoded(&bytes, &single).expect("golden bytes");
    assert_eq!(both, (frames, payloads), "byte by byte");
}

#[test]
fn the_decoder_knows_whether_a_frame_is_begun() {
    for (_, fields) in every_frame() {
        let bytes = bytes_of(&fields);
        for length in 1..bytes.len() {
            let mut decoder = Decoder::default();
            let mut input = &bytes[..length];
            assert_eq!(decoder.next(&mut input), Ok(None));
            assert!(!decoder.is_at_boundary());
        }
    }
    let mut decoder = Decoder::default();
    let mut input: &[u8] = &from_hex("23 000012 0000000000000002 0000000000000000 61");
    assert!(matches!(
        decoder.next(&mut input),
        Ok(Some(Item::Data { .. }))
    ));
    assert!(!decoder.is_at_boundary(), "one byte of payload is to come");
}

fn refusal(bytes: &[u8]) -> WireError {
    decoded(bytes, &[]).expect_err("these bytes mean nothing")
}

#[test]
fn unknown_types_are_refused() {
    for kind in (0..HELLO)
        .chain(STALLED + 1..OPEN)
        .chain(DATAGRAM + 1..=u8::MAX)
    {
        assert_eq!(refusal(&[kind, 0, 0, 0]), WireError::UnknownFrame(kind));
    }
}

#[test]
fn bodies_that_are_too_long_are_refused_before_they_are_read() {
    for kind in [HELLO, RENEW, OPEN, 200] {
        let length = BODY_BYTES + 1;
        let mut decoder = Decoder::default();
        let word = header_word(kind, length).to_be_bytes();
        assert_eq!(
            decoder.next(&mut word.as_slice()),
            Err(WireError::TooLong {
                frame: kind,
                length
            })
        );
    }
    let most = DATA_FIELDS_BYTES + DATA_PAYLOAD_BYTES;
    let mut decoder = Decoder::default();
    let mut input: &[u8] = &header_word(DATA, most).to_be_bytes();
    assert_eq!(decoder.next(&mut input), Ok(None), "the longest DATA");
    let mut decoder = Decoder::default();
    let mut input: &[u8] = &header_word(DATA, most + 1).to_be_bytes();
    assert_eq!(
        decoder.next(&mut input),
        Err(WireError::TooLong {
            frame: DATA,
            length: most + 1
        })
    );
}

#[test]
fn bodies_of_the_wrong_length_are_refused() {
    let (datagram, fields) = datagram_frame();
    // Of a datagram only what comes before its payload has a length that could be wrong.
    let before_payload = &bytes_of(&fields)[..HEADER_BYTES + 40];
    for cut in HEADER_BYTES..before_payload.len() {
        let mut bytes = before_payload[..cut].to_vec();
        bytes[..HEADER_BYTES]
            .copy_from_slice(&header_word(DATAGRAM, cut - HEADER_BYTES).to_be_bytes());
        assert_eq!(
            refusal(&bytes),
            WireError::WrongLength(DATAGRAM),
            "cut at {cut}"
        );
    }
    for (frame, fields) in every_frame()
        .into_iter()
        .filter(|(frame, _)| *frame != datagram)
    {
        let bytes = bytes_of(&fields);
        let (kind, body) = (bytes[0], bytes.len() - HEADER_BYTES);
        let mut longer = bytes.clone();
        longer.push(0);
        longer[..HEADER_BYTES].copy_from_slice(&header_word(kind, body + 1).to_be_bytes());
        assert_eq!(refusal(&longer), WireError::WrongLength(kind), "{frame:?}");
        if body > 0 {
            let mut shorter = bytes[..bytes.len() - 1].to_vec();
            shorter[..HEADER_BYTES].copy_from_slice(&header_word(kind, body - 1).to_be_bytes());
            assert_eq!(refusal(&shorter), WireError::WrongLength(kind), "{frame:?}");
        }
    }
    for length in 0..=DATA_FIELDS_BYTES {
        let word = header_word(DATA, length).to_be_bytes();
        assert_eq!(
            refusal(&word),
            WireError::WrongLength(DATA),
            "DATA without a payload"
        );
    }
}

/// One byte of a golden frame replaced by a value that means nothing there.
fn spoilt(kind: u8, at: usize, value: u8) -> WireError {
    let (_, fields) = every_frame()
        .into_iter()
        .find(|(_, fields)| bytes_of(fields)[0] == kind)
        .expect("a golden frame");
    let mut bytes = bytes_of(&fields);
    bytes[HEADER_BYTES + at] = value;
    refusal(&bytes)
}

#[test]
fn values_that_mean_nothing_are_refused() {
    let cases = [
        (HELLO, 4, 2, "role"),
        (USE, 8, 2, "purpose"),
        (ATTACH, 60, 0xff, "number of services"),
        (ATTACH, 62, 0, "name"),
        (ATTACH, 62, 65, "name"),
        (ATTACH, 63, 0xff, "name"),
        (ATTACH, 66, 2, "protocol"),
        (ATTACH, 67, 0x20, "ports"),
        (ATTACH, 67, 0xff, "ports"),
        (ATTACH, 69, 0xff, "number of ports"),
        (ATTACHED, 44, 0xff, "number of services"),
        (RENEW, 16, 2, "flag"),
        (RENEW, 17, 0xff, "number of streams"),
        (RENEW, 27, 8, "flag"),
        (RENEW, 27, 3, "flag"),
        (OK_TO_REDIRECTION, 8, 2, "flag"),
        (ALL_REDIRECTED, 8, 2, "flag"),
        (SWITCH_STEP2, 40, 3, "state of the old link"),
        (SWITCH_STEP2, 41, 5, "number of links"),
        (SWITCH_UNEXPECTED, 40, 3, "state of the old link"),
        (STALLED, 8, 2, "flag"),
        (TRAIL, 16, 0xff, "number of steps"),
        (TRAIL, 18, 6, "step"),
        (TRAIL, 19, 35, "step"),
        (REFUSED, 0, 0, "code"),
        (REFUSED, 0, 6, "code"),
        (OPEN, 36, 0, "name"),
        (OPEN, 37, 0xff, "name"),
        (DATAGRAM, 36, 0, "name"),
    ];
    for (frame, at, value, field) in cases {
        assert_eq!(
            spoilt(frame, at, value),
            WireError::BadField { frame, field },
            "byte {at} = {value}"
        );
    }
}

#[test]
fn a_payload_ends_before_the_offsets_do() {
    let last = from_hex("23 000012 0000000000000002 fffffffffffffffd 6162");
    let payload = (StreamId(2), u64::MAX - 2, b"ab".to_vec());
    assert_eq!(decoded(&last, &[]), Ok((vec![], vec![payload])));
    let beyond = from_hex("23 000012 0000000000000002 fffffffffffffffe 6162");
    assert_eq!(
        refusal(&beyond),
        WireError::BadField {
            frame: DATA,
            field: "offset"
        }
    );
}

#[test]
fn the_largest_frames_fit_a_body() {
    let name = "n".repeat(NAME_BYTES);
    let services = vec![
        CatalogueEntry {
            name,
            protocol: TransportProtocol::Udp,
            ports: u16::MAX - 1..=u16::MAX,
        };
        CATALOGUE_ENTRIES
    ];
    let attach = Frame::Attach(Attach {
        cnapt: CNAPT,
        session: u64::MAX,
        snapt: Instance(u64::MAX),
        initial_limit: u32::MAX,
        streams: u32::MAX,
        flow_idle: Duration::from_secs(u64::from(u32::MAX)),
        services,
    });
    let entry = RenewEntry {
        stream: StreamId(u64::MAX),
        arrived: u64::MAX,
        limit: u64::MAX,
        end: Some(End::Abort {
            last: u64::MAX,
            code: u16::MAX,
        }),
        stop: Some(u16::MAX),
    };
    let renew = Frame::Renew(Renew {
        number: u64::MAX,
        floor: u64::MAX,
        last: false,
        entries: vec![entry; RENEW_ENTRIES],
    });
    let trail = Frame::Trail(Trail {
        number: u64::MAX,
        gap_micros: Some(u64::MAX - 1),
        steps: vec![(Step::snapt_star(16), u64::MAX); TRAIL_STEPS],
    });
    for frame in [attach, renew, trail] {
        let bytes = encoded(&frame);
        assert!(bytes.len() <= HEADER_BYTES + BODY_BYTES);
        assert_eq!(decoded(&bytes, &[]), Ok((vec![frame], vec![])));
    }
}

fn any_end() -> impl Strategy<Value = End> {
    prop_oneof![
        any::<u64>().prop_map(|last| End::Fin { last }),
        any::<(u64, u16)>().prop_map(|(last, code)| End::Abort { last, code }),
    ]
}

fn any_renew() -> impl Strategy<Value = Frame> {
    let entry = (
        any::<(u64, u64, u64)>(),
        proptest::option::of(any_end()),
        any::<Option<u16>>(),
    )
        .prop_map(|((stream, arrived, limit), end, stop)| RenewEntry {
            stream: StreamId(stream),
            arrived,
            limit,
            end,
            stop,
        });
    let entries = proptest::collection::vec(entry, 0..20);
    (any::<(u64, u64, bool)>(), entries).prop_map(|((number, floor, last), entries)| {
        Frame::Renew(Renew {
            number,
            floor,
            last,
            entries,
        })
    })
}

fn any_ports() -> impl Strategy<Value = RangeInclusive<u16>> {
    (1..=u16::MAX, 0..100_u16).prop_map(|(first, more)| first..=first.saturating_add(more))
}

fn any_request() -> impl Strategy<Value = Request> {
    let origin = (any_address(), any::<u16>()).prop_map(SocketAddr::from);
    ("\\PC{1,16}", any::<u16>(), origin).prop_map(|(service, port, origin)| Request {
        service,
        port,
        origin,
    })
}

/// A mapped IPv6 address is the IPv4 address that it maps, on the wire and in value.
fn any_address() -> impl Strategy<Value = IpAddr> {
    any::<IpAddr>().prop_map(|address| address.to_canonical())
}

fn any_services() -> impl Strategy<Value = Vec<CatalogueEntry>> {
    let protocol = prop_oneof![Just(TransportProtocol::Tcp), Just(TransportProtocol::Udp)];
    let entry =
        ("\\PC{1,16}", protocol, any_ports()).prop_map(|(name, protocol, ports)| CatalogueEntry {
            name,
            protocol,
            ports,
        });
    proptest::collection::vec(entry, 0..5)
}

#[test]
fn the_largest_datagram_with_the_longest_name_travels_and_no_larger_one() {
    let (Frame::Datagram(mut datagram), _) = datagram_frame() else {
        unreachable!("it makes a datagram")
    };
    datagram.request.service = "n".repeat(NAME_BYTES);
    datagram.payload = Bytes::from(vec![7; DATAGRAM_PAYLOAD_BYTES]);
    let bytes = encoded(&Frame::Datagram(datagram.clone()));
    assert_eq!(bytes.len(), HEADER_BYTES + longest_body(DATAGRAM));
    let frames = vec![Frame::Datagram(datagram)];
    assert_eq!(decoded(&bytes, &[1000, 40_000]), Ok((frames, vec![])));

    let length = longest_body(DATAGRAM) + 1;
    let header = header_word(DATAGRAM, length).to_be_bytes();
    let too_long = WireError::TooLong {
        frame: DATAGRAM,
        length,
    };
    assert_eq!(decoded(&header, &[]), Err(too_long));
    let (_, fields) = datagram_frame();
    let mut one_more = bytes_of(&fields);
    let room = DATAGRAM_PAYLOAD_BYTES + 1 - b"hello".len();
    one_more.extend(vec![7; room]);
    let body = one_more.len() - HEADER_BYTES;
    one_more[..HEADER_BYTES].copy_from_slice(&header_word(DATAGRAM, body).to_be_bytes());
    assert_eq!(
        decoded(&one_more, &[]),
        Err(WireError::WrongLength(DATAGRAM))
    );
}

fn any_attached() -> impl Strategy<Value = Frame> {
    (
        any::<(u64, u64, u32, u32, u32)>(),
        any_address(),
        any_services(),
    )
        .prop_map(
            |((snapt, session, initial_limit, streams, idle), virtual_ip, services)| {
                Frame::Attached(Attached {
                    snapt: Instance(snapt),
                    session,
                    virtual_ip,
                    initial_limit,
                    streams,
                    flow_idle: Duration::from_secs(u64::from(idle)),
                    services,
                })
            },
        )
}

fn any_stream_frame() -> impl Strategy<Value = Frame> {
    let stream = any::<u64>().prop_map(StreamId);
    prop_oneof![
        (any::<(u64, u64)>(), any_request()).prop_map(|((stream, floor), request)| Frame::Open {
            stream: StreamId(stream),
            floor,
            request
        }),
        any::<(u64, u64, u64)>().prop_map(|(stream, arrived, limit)| Frame::Received {
            stream: StreamId(stream),
            arrived,
            limit
        }),
        (stream, any_end()).prop_map(|(stream, end)| Frame::End { stream, end }),
        any::<(u64, u16)>().prop_map(|(stream, code)| Frame::Stop {
            stream: StreamId(stream),
            code
        }),
    ]
}

fn any_datagram() -> impl Strategy<Value = Frame> {
    let payload = proptest::collection::vec(any::<u8>(), 0..300);
    (any::<(u64, u64)>(), any_request(), payload).prop_map(
        |((flow, sequence), request, payload)| {
            Frame::Datagram(Datagram {
                flow: FlowId(flow),
                sequence,
                request,
                payload: Bytes::from(payload),
            })
        },
    )
}

/// A frame of each shape that has something to vary, or a golden one.
fn any_frame() -> impl Strategy<Value = Frame> {
    let golden: Vec<Frame> = every_frame().into_iter().map(|(frame, _)| frame).collect();
    prop_oneof![
        proptest::sample::select(golden),
        any_renew(),
        any_attached(),
        any_stream_frame(),
        any_datagram(),
    ]
}

proptest! {
    #[test]
    fn frames_survive_the_wire_in_any_pieces(
        frames in proptest::collection::vec(any_frame(), 1..6),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
    ) {
        let bytes: Vec<u8> = frames.iter().flat_map(encoded).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(decoded(&bytes, &cuts), Ok((frames, vec![])));
    }

    /// One value, one encoding: what was decoded from any bytes is encoded as those bytes.
    #[test]
    fn no_frame_has_two_encodings(
        frame in any_frame(),
        at in any::<proptest::sample::Index>(),
        value in any::<u8>(),
    ) {
        let mut bytes = encoded(&frame);
        if bytes.len() > HEADER_BYTES {
            let at = HEADER_BYTES + at.index(bytes.len() - HEADER_BYTES);
            bytes[at] = value;
        }
        if let Ok((frames, _)) = decoded(&bytes, &[]) {
            prop_assert_eq!(frames.iter().flat_map(encoded).collect::<Vec<u8>>(), bytes);
        }
    }

    #[test]
    fn no_bytes_bring_the_decoder_down(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut decoder = Decoder::default();
        let mut input = bytes.as_slice();
        while let Ok(Some(_)) = decoder.next(&mut input) {}
        prop_assert!(input.len() < bytes.len() || bytes.is_empty());
    }
}
