// SPDX-License-Identifier: GPL-2.0
//! The instructions by which a guest writes an entry of a table: 64-bit stores to memory.
//!
//! The processor does not tell what the guest tried to store, so the instruction is decoded. Only what compilers make
//! of one 64-bit store, exchange or compare-and-exchange is known here. Anything else is no write of an entry.

/// Where the stored value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A general register, by its number.
    Register(u8),
    /// The instruction itself.
    Immediate(u64),
}

/// What becomes of the old value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Store,
    /// It goes to the source register.
    Exchange,
    /// It is compared with RAX, and goes there if it differs; only an equal one is replaced.
    CompareExchange,
}

/// A 64-bit write to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub kind: Kind,
    /// The value.
    pub source: Source,
    /// Bytes of the instruction.
    pub length: u8,
}

/// Most bytes of an instruction.
pub const LENGTH_MAX: usize = 15;

/// Decodes the instruction at the start of `bytes`; `None` when it is none of these, or is cut off.
pub fn decode(bytes: &[u8]) -> Option<Instruction> {
    const REX_W: u8 = 0x48;
    let mut rest = bytes.get(..bytes.len().min(LENGTH_MAX))?;
    // LOCK and segment overrides change nothing here.
    while let [0xf0 | 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65, tail @ ..] = rest {
        rest = tail;
    }
    let [rex, tail @ ..] = rest else { return None };
    if rex & 0xf8 != REX_W {
        return None;
    }
    let (kind, immediate, tail) = match tail {
        [0x89, tail @ ..] | [0x0f, 0xc3, tail @ ..] => (Kind::Store, 0, tail),
        [0xc7, tail @ ..] => (Kind::Store, 4, tail),
        [0x87, tail @ ..] => (Kind::Exchange, 0, tail),
        [0x0f, 0xb1, tail @ ..] => (Kind::CompareExchange, 0, tail),
        _ => return None,
    };
    let operand = operand_bytes(tail)?;
    let register = tail.first()? >> 3 & 7 | (rex & 4) << 1;
    let end = tail.get(operand..)?;
    let source = match immediate {
        0 => Source::Register(register),
        // An extension of the operation, not a register: only 0 is MOV.
        _ if register & 7 != 0 => return None,
        _ => Source::Immediate(i64::from(i32::from_le_bytes(*end.first_chunk()?)) as u64),
    };
    let length = bytes.len().min(LENGTH_MAX) - end.len() + immediate;
    Some(Instruction { kind, source, length: length as u8 })
}

/// Bytes of ModRM, SIB and displacement; `None` when the operand is a register.
fn operand_bytes(tail: &[u8]) -> Option<usize> {
    let modrm = *tail.first()?;
    let (mode, rm) = (modrm >> 6, modrm & 7);
    let sib = usize::from(rm == 4);
    let displacement = match mode {
        0 if rm == 5 => 4,
        0 if rm == 4 && tail.get(1)? & 7 == 5 => 4,
        0 => 0,
        1 => 1,
        2 => 4,
        _ => return None,
    };
    Some(1 + sib + displacement)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(bytes: &[u8], kind: Kind, source: Source) {
        let mut padded = bytes.to_vec();
        padded.resize(LENGTH_MAX + 3, 0x90);
        let expected = Some(Instruction { kind, source, length: bytes.len() as u8 });
        assert_eq!(decode(&padded), expected, "{bytes:02x?}");
        assert_eq!(decode(bytes), expected, "{bytes:02x?} without anything behind it");
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None, "{bytes:02x?} cut off");
    }

    #[test]
    fn what_compilers_make_of_a_store() {
        use Kind::*;
        use Source::*;
        // mov [rax], rcx; mov [rdi+8*rsi], rdx; mov [r13+0], r12; mov [rip+1], rbx; mov [rsp+0x10], rbp
        check(&[0x48, 0x89, 0x08], Store, Register(1));
        check(&[0x48, 0x89, 0x14, 0xf7], Store, Register(2));
        check(&[0x4d, 0x89, 0x65, 0x00], Store, Register(12));
        check(&[0x48, 0x89, 0x1d, 1, 0, 0, 0], Store, Register(3));
        check(&[0x48, 0x89, 0x6c, 0x24, 0x10], Store, Register(5));
        // mov [rax*8+0x1000], r9; mov [rbx+0x12345678], r8
        check(&[0x4c, 0x89, 0x0c, 0xc5, 0, 0x10, 0, 0], Store, Register(9));
        check(&[0x4c, 0x89, 0x83, 0x78, 0x56, 0x34, 0x12], Store, Register(8));
        // mov qword [rax], 0; mov qword [rax+8*rcx], -2; movnti [rdi], rax
        check(&[0x48, 0xc7, 0x00, 0, 0, 0, 0], Store, Immediate(0));
        check(&[0x48, 0xc7, 0x04, 0xc8, 0xfe, 0xff, 0xff, 0xff], Store, Immediate(u64::MAX - 1));
        check(&[0x48, 0x0f, 0xc3, 0x07], Store, Register(0));
        // lock cmpxchg [rdi], rsi; lock cmpxchg gs:[r8+r9], r15; xchg [rdi], rax
        check(&[0xf0, 0x48, 0x0f, 0xb1, 0x37], CompareExchange, Register(6));
        check(&[0x65, 0xf0, 0x4f, 0x0f, 0xb1, 0x3c, 0x08], CompareExchange, Register(15));
        check(&[0x48, 0x87, 0x07], Exchange, Register(0));
    }

    #[test]
    fn everything_else_is_none() {
        // mov [rax], ecx; mov [rax], cl; mov rax, rcx; mov rax, [rcx]; rep stosq; add [rax], rcx; /1 of C7
        for bytes in [
            &[0x89, 0x08][..],
            &[0x48, 0x88, 0x08],
            &[0x48, 0x89, 0xc8],
            &[0x48, 0x8b, 0x01],
            &[0xf3, 0x48, 0xab],
            &[0x48, 0x01, 0x08],
            &[0x48, 0xc7, 0x08, 0, 0, 0, 0],
            &[],
        ] {
            assert_eq!(decode(bytes), None, "{bytes:02x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            if let Some(instruction) = decode(&bytes) {
                prop_assert!(usize::from(instruction.length) <= bytes.len().min(LENGTH_MAX));
            }
        }
    }
}
