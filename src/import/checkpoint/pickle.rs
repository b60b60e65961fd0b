//! A reader of pickles that runs nothing: it knows how torch writes tensors, and refuses whatever else is named.
//!
//! A pickle is a program for a stack machine whose instructions may call any function of Python. This machine has no
//! functions. It builds plain objects, and for the few names that torch uses for tensors it notes what they describe.
//! Objects lie in one table and refer to each other by number, so shared and nested objects cost what they take in the
//! file: nothing is copied, nothing recurses, and memory is bounded by [`BYTES_MAX`] and [`OBJECTS_MAX`].

use std::collections::HashMap;

use super::names::{self, Name};
use super::tensor::{Storage, TensorInfo};

/// Bytes of a pickle at most; that of a generator has 60 thousand, with its optimiser's state three times that.
pub(super) const BYTES_MAX: u64 = 4 << 20;
/// Objects in one pickle at most.
const OBJECTS_MAX: usize = 1 << 20;
/// Arguments of a call that are looked at.
const ARGUMENTS_MAX: usize = 16;
/// Bytes of a storage's name at most; torch counts them from 0.
const KEY_BYTES_MAX: usize = 64;

/// Why a pickle cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum PickleError {
    /// It names something that is no part of a tensor.
    #[error("it names {0}, which weights do not need")]
    Foreign(String),
    /// It is cut or damaged, or nothing that torch writes.
    #[error("its pickle is damaged at byte {at}: {reason}")]
    Damaged {
        /// Where.
        at: usize,
        /// Why.
        reason: String,
    },
}

/// An object by its place in the table.
pub(super) type Id = u32;

/// What a pickle can hold here.
#[derive(Debug, PartialEq)]
pub(super) enum Object {
    /// None, a float, bytes: whatever nobody asks for.
    Inert,
    Int(i64),
    Text(String),
    /// A tuple or a list.
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Name(Name),
    Storage(Storage),
    Tensor(TensorInfo),
}

/// The objects of a pickle.
#[derive(Debug)]
pub(super) struct Objects {
    table: Vec<Object>,
    /// The one that the pickle is about.
    pub(super) root: Id,
}

impl Objects {
    pub(super) fn get(&self, id: Id) -> &Object {
        &self.table[id as usize]
    }
}

/// Reads a pickle.
pub(super) fn read(bytes: &[u8]) -> Result<Objects, PickleError> {
    let mut machine = Machine {
        bytes,
        at: 0,
        table: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    match machine.run() {
        Ok(root) => Ok(Objects {
            table: machine.table,
            root,
        }),
        Err(Fault::Foreign(name)) => Err(PickleError::Foreign(name)),
        Err(Fault::Damaged(reason)) => Err(PickleError::Damaged {
            at: machine.at,
            reason,
        }),
    }
}

/// What stops the machine.
enum Fault {
    Foreign(String),
    Damaged(String),
}

fn damaged<T>(reason: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Damaged(reason.into()))
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    table: Vec<Object>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    /// Runs up to the instruction that ends a pickle, and gives what is then on top of the stack.
    fn run(&mut self) -> Result<Id, Fault> {
        loop {
            let instruction = self.byte()?;
            if instruction == b'.' {
                return self.pop();
            }
            self.step(instruction)?;
        }
    }

    fn step(&mut self, instruction: u8) -> Result<(), Fault> {
        match instruction {
            // PROTO, FRAME: the version, and how much follows.
            0x80 => self.take(1).map(drop),
            0x95 => self.take(8).map(drop),
            // MARK, POP, POP_MARK
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(drop),
            b'1' => self.pop_mark().map(drop),
            // NONE, NEWTRUE, NEWFALSE
            b'N' | 0x88 | 0x89 => self.push(Object::Inert),
            // BINFLOAT
            b'G' => {
                self.take(8)?;
                self.push(Object::Inert)
            }
            b'J' | b'K' | b'M' | 0x8a => self.integer(instruction),
            b'X' | 0x8c | 0x8d => self.text(instruction),
            // Bytes: SHORT_BINBYTES, SHORT_BINSTRING, BINBYTES, BINSTRING, BINBYTES8
            b'C' | b'U' | b'B' | b'T' | 0x8e => self.blob(instruction),
            b'}' => self.push(Object::Dict(Vec::new())),
            // EMPTY_LIST, EMPTY_TUPLE, EMPTY_SET
            b']' | b')' | 0x8f => self.push(Object::List(Vec::new())),
            // TUPLE, LIST
            b't' | b'l' => {
                let items = self.pop_mark()?;
                self.push(Object::List(items))
            }
            0x85..=0x87 => {
                let items = self.pop_many(usize::from(instruction - 0x84))?;
                self.push(Object::List(items))
            }
            b'a' | b'e' | 0x90 => self.append(instruction),
            b's' | b'u' | b'd' => self.set_items(instruction),
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memoise(instruction),
            b'c' | 0x93 => self.global(instruction),
            b'Q' => self.persistent(),
            b'R' | 0x81 => self.call(),
            b'b' => self.build(),
            other => damaged(format!(
                "instruction 0x{other:02x}, which torch does not write"
            )),
        }
    }

    // ## Bytes

    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let end = self.at.checked_add(count);
        match end.and_then(|end| self.bytes.get(self.at..end)) {
            Some(taken) => {
                self.at += count;
                Ok(taken)
            }
            None => damaged("it ends in the middle of an instruction"),
        }
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        Ok(self.take(1)?[0])
    }

    /// A little-endian number of `count` bytes.
    fn number(&mut self, count: usize) -> Result<u64, Fault> {
        let bytes = self.take(count)?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
    }

    /// That many bytes that begin with their own length, a number of `count` bytes.
    fn sized(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let length = self.number(count)?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn line(&mut self) -> Result<&'a str, Fault> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
            return damaged("a name without an end");
        };
        self.at += end + 1;
        match std::str::from_utf8(&rest[..end]) {
            Ok(line) => Ok(line),
            Err(_) => damaged("a name that is no text"),
        }
    }

    // ## The stack

    fn add(&mut self, object: Object) -> Result<Id, Fault> {
        if self.table.len() >= OBJECTS_MAX {
            return damaged(format!("more than {OBJECTS_MAX} objects"));
        }
        self.table.push(object);
        Ok((self.table.len() - 1) as Id)
    }

    fn push(&mut self, object: Object) -> Result<(), Fault> {
        let id = self.add(object)?;
        self.stack.push(id);
        Ok(())
    }

    /// Where the stack ends for instructions after the latest mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Id, Fault> {
        match self.stack.pop() {
            Some(id) if self.stack.len() >= self.floor() => Ok(id),
            _ => damaged("it takes from an empty stack"),
        }
    }

    fn top(&self) -> Result<Id, Fault> {
        match self.stack.last() {
            Some(&id) if self.stack.len() > self.floor() => Ok(id),
            _ => damaged("it takes from an empty stack"),
        }
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Id>, Fault> {
        match self.stack.len().checked_sub(count) {
            Some(start) if start >= self.floor() => Ok(self.stack.split_off(start)),
            _ => damaged("it takes from an empty stack"),
        }
    }

    /// Everything above the latest mark.
    fn pop_mark(&mut self) -> Result<Vec<Id>, Fault> {
        match self.marks.pop() {
            Some(height) if height <= self.stack.len() => Ok(self.stack.split_off(height)),
            _ => damaged("it looks for a mark that it has not set"),
        }
    }

    fn object(&self, id: Id) -> &Object {
        &self.table[id as usize]
    }

    /// The first of a call's arguments, which are all that is looked at however many there are.
    fn first(&self, ids: &[Id]) -> Vec<&Object> {
        let ids = ids.iter().take(ARGUMENTS_MAX);
        ids.map(|&id| self.object(id)).collect()
    }

    // ## Instructions

    /// BININT, BININT1, BININT2, LONG1
    fn integer(&mut self, instruction: u8) -> Result<(), Fault> {
        let value = match instruction {
            b'J' => i64::from(self.number(4)? as u32 as i32),
            b'K' => self.number(1)? as i64,
            b'M' => self.number(2)? as i64,
            _ => {
                let bytes = self.sized(1)?;
                let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
                let mut whole = [if negative { 0xff } else { 0 }; 8];
                let Some(low) = whole.get_mut(..bytes.len()) else {
                    // Far above any size; what it counts is not looked at unless it is one.
                    return self.push(Object::Inert);
                };
                low.copy_from_slice(bytes);
                i64::from_le_bytes(whole)
            }
        };
        self.push(Object::Int(value))
    }

    /// BINUNICODE, `SHORT_BINUNICODE`, BINUNICODE8
    fn text(&mut self, instruction: u8) -> Result<(), Fault> {
        let bytes = self.sized(match instruction {
            0x8c => 1,
            b'X' => 4,
            _ => 8,
        })?;
        match std::str::from_utf8(bytes) {
            Ok(text) => self.push(Object::Text(text.to_owned())),
            // Python writes lone surrogates; no name of a tensor has one.
            Err(_) => self.push(Object::Inert),
        }
    }

    fn blob(&mut self, instruction: u8) -> Result<(), Fault> {
        self.sized(match instruction {
            b'C' | b'U' => 1,
            b'B' | b'T' => 4,
            _ => 8,
        })?;
        self.push(Object::Inert)
    }

    /// APPEND, APPENDS, ADDITEMS
    fn append(&mut self, instruction: u8) -> Result<(), Fault> {
        let items = if instruction == b'a' {
            vec![self.pop()?]
        } else {
            self.pop_mark()?
        };
        let list = self.top()?;
        match &mut self.table[list as usize] {
            Object::List(list) => list.extend(items),
            Object::Inert => {}
            _ => return damaged("it appends to something that is no list"),
        }
        Ok(())
    }

    /// SETITEM, SETITEMS, DICT
    fn set_items(&mut self, instruction: u8) -> Result<(), Fault> {
        let items = if instruction == b's' {
            self.pop_many(2)?
        } else {
            self.pop_mark()?
        };
        if items.len() % 2 != 0 {
            return damaged("a dictionary with a key without a value");
        }
        let pairs = items.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        if instruction == b'd' {
            let pairs = pairs.collect();
            return self.push(Object::Dict(pairs));
        }
        let dict = self.top()?;
        match &mut self.table[dict as usize] {
            Object::Dict(dict) => dict.extend(pairs),
            Object::Inert => {}
            _ => return damaged("it sets items of something that is no dictionary"),
        }
        Ok(())
    }

    /// BINPUT, `LONG_BINPUT`, MEMOIZE, BINGET, `LONG_BINGET`
    fn memoise(&mut self, instruction: u8) -> Result<(), Fault> {
        let key = match instruction {
            b'q' | b'h' => self.number(1)? as u32,
            b'r' | b'j' => self.number(4)? as u32,
            _ => self.memo.len() as u32,
        };
        if matches!(instruction, b'h' | b'j') {
            let Some(&id) = self.memo.get(&key) else {
                return damaged(format!("it reads memo {key}, which it has not written"));
            };
            // A reference, not an object; the stack is bounded like the table.
            if self.stack.len() >= OBJECTS_MAX {
                return damaged(format!("more than {OBJECTS_MAX} objects"));
            }
            self.stack.push(id);
        } else {
            let id = self.top()?;
            self.memo.insert(key, id);
        }
        Ok(())
    }

    /// GLOBAL, `STACK_GLOBAL`
    fn global(&mut self, instruction: u8) -> Result<(), Fault> {
        let (module, name) = if instruction == b'c' {
            (self.line()?.to_owned(), self.line()?.to_owned())
        } else {
            let pair = self.pop_many(2)?;
            match (self.object(pair[0]), self.object(pair[1])) {
                (Object::Text(module), Object::Text(name)) => (module.clone(), name.clone()),
                _ => return damaged("a name that is no text"),
            }
        };
        match names::find(&module, &name) {
            Some(name) => self.push(Object::Name(name)),
            None => Err(Fault::Foreign(shown(&module, &name))),
        }
    }

    /// BINPERSID: a storage, which torch keeps beside the pickle.
    fn persistent(&mut self) -> Result<(), Fault> {
        let id = self.pop()?;
        let Object::List(parts) = self.object(id) else {
            return damaged("a reference that is none to a storage");
        };
        let parts: Vec<&Object> = self.first(parts);
        let [
            Object::Text(what),
            Object::Name(Name::Storage(element)),
            Object::Text(key),
            _,
            Object::Int(count),
            ..,
        ] = parts[..]
        else {
            return damaged("a reference that is none to a storage");
        };
        let Ok(elements) = u64::try_from(*count) else {
            return damaged("a storage of negative size");
        };
        if what != "storage" || key.len() > KEY_BYTES_MAX {
            return damaged("a reference that is none to a storage");
        }
        let storage = Storage {
            key: key.clone(),
            element: *element,
            elements,
        };
        self.push(Object::Storage(storage))
    }

    /// REDUCE, NEWOBJ: a call. Nothing is called: what it would make is noted, if it is known.
    fn call(&mut self) -> Result<(), Fault> {
        let pair = self.pop_many(2)?;
        let (Object::Name(name), Object::List(arguments)) =
            (self.object(pair[0]), self.object(pair[1]))
        else {
            return damaged("it calls something that is no name");
        };
        let arguments = self.first(arguments);
        let made = match name {
            Name::Tensor => match TensorInfo::of(&arguments, |id| self.object(id)) {
                Ok(tensor) => Object::Tensor(tensor),
                Err(reason) => return damaged(reason),
            },
            Name::Parameter => {
                let Some(Object::Tensor(tensor)) = arguments.first() else {
                    return damaged("a parameter without a tensor");
                };
                Object::Tensor(tensor.clone())
            }
            // Its items, if it has any, follow one by one.
            Name::Dict => Object::Dict(Vec::new()),
            Name::Size => match arguments.first() {
                Some(Object::List(items)) => {
                    Object::List(items.iter().copied().take(ARGUMENTS_MAX).collect())
                }
                _ => Object::List(Vec::new()),
            },
            Name::Storage(_) | Name::Inert => Object::Inert,
        };
        self.push(made)
    }

    /// BUILD: gives an object its attributes; those of a dictionary tell versions.
    fn build(&mut self) -> Result<(), Fault> {
        self.pop()?;
        let id = self.top()?;
        match self.object(id) {
            Object::Dict(_) | Object::Inert | Object::Tensor(_) => Ok(()),
            _ => damaged("it sets attributes of something that has none"),
        }
    }
}

/// A name as Python has it, cut to a length that fits a line.
fn shown(module: &str, name: &str) -> String {
    let whole = format!("{module}.{name}");
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    whole.chars().map(plain).take(80).collect()
}

#[cfg(test)]
#[path = "pickle_tests.rs"]
mod tests;
