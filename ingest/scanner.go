package ingest

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"unicode/utf8"
)

// syntaxError is where a body stops being JSON.
type syntaxError struct {
	offset int
	reason string
}

func (e *syntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.reason, e.offset) }

// maxDepth bounds how deep a value may nest that is only skipped.
const maxDepth = 64

// scanner reads JSON tokens from a body that is wholly in memory. Strings alias the body unless they hold escapes. It accepts exactly what
// RFC 8259 does, except that UTF-8 inside strings is judged by the caller, from flaws.
type scanner struct {
	data  []byte
	at    int
	arena []byte // unescaped strings
}

// flaws of a string that is one by syntax.
type flaws uint8

const (
	notUTF8 flaws = 1 << iota
	loneSurrogate
)

func (s *scanner) reset(data []byte) { s.data, s.at, s.arena = data, 0, s.arena[:0] }

func (s *scanner) fail(offset int, format string, args ...any) error {
	return &syntaxError{offset: offset, reason: fmt.Sprintf(format, args...)}
}

// unexpected describes what stands at s.at.
func (s *scanner) unexpected(want string) error {
	if s.at >= len(s.data) {
		return s.fail(len(s.data), "the body ends where %s should follow", want)
	}
	return s.fail(s.at, "%q where %s should follow", s.data[s.at], want)
}

// space skips white space and returns the byte that follows, 0 at the end.
func (s *scanner) space() byte {
	for ; s.at < len(s.data); s.at++ {
		switch c := s.data[s.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// plain returns where the first byte from i on is a quote, a backslash, a control character or beyond ASCII; len(data) if none is.
func plain(data []byte, i int) int {
	for ; i+8 <= len(data); i += 8 {
		w := binary.LittleEndian.Uint64(data[i:])
		quote, backslash := w^(ones*'"'), w^(ones*'\\')
		if stop := ((quote-ones)&^quote | (backslash-ones)&^backslash | (w - ones*0x20) | w) & highs; stop != 0 {
			return i + bits.TrailingZeros64(stop)/8
		}
	}
	for ; i < len(data); i++ {
		if c := data[i]; c == '"' || c == '\\' || c < 0x20 || c >= 0x80 {
			return i
		}
	}
	return i
}

// text reads the string at s.at, which is a quote.
func (s *scanner) text() ([]byte, flaws, error) {
	start := s.at + 1
	beyondASCII := false
	for i := start; ; {
		i = plain(s.data, i)
		if i >= len(s.data) {
			return nil, 0, s.fail(len(s.data), "the body ends inside a string")
		}
		switch c := s.data[i]; {
		case c == '"':
			s.at = i + 1
			if beyondASCII && !utf8.Valid(s.data[start:i]) {
				return s.data[start:i], notUTF8, nil
			}
			return s.data[start:i], 0, nil
		case c == '\\':
			return s.escaped(start, i)
		case c < 0x20:
			return nil, 0, s.fail(i, "control character %#02x inside a string", c)
		}
		beyondASCII = true
		i++
	}
}

// skip reads any value and says what kind it was.
func (s *scanner) skip(depth int) (kind string, err error) {
	switch c := s.space(); {
	case c == '"':
		_, _, err = s.text()
		return "a string", err
	case c == '-' || c-'0' <= 9:
		_, err = s.number()
		return "a number", err
	case c == '{':
		return "an object", s.skipObject(depth + 1)
	case c == '[':
		return "an array", s.skipArray(depth + 1)
	case c == 't':
		return "a boolean", s.word("true")
	case c == 'f':
		return "a boolean", s.word("false")
	case c == 'n':
		return "null", s.word("null")
	}
	return "", s.unexpected("a value")
}

func (s *scanner) word(w string) error {
	for i := range len(w) {
		if s.at >= len(s.data) || s.data[s.at] != w[i] {
			return s.unexpected(w)
		}
		s.at++
	}
	return nil
}

func (s *scanner) skipArray(depth int) error {
	if depth > maxDepth {
		return s.fail(s.at, "nested deeper than %d", maxDepth)
	}
	s.at++
	if s.space() == ']' {
		s.at++
		return nil
	}
	for {
		if _, err := s.skip(depth); err != nil {
			return err
		}
		more, err := s.more(']')
		if err != nil || !more {
			return err
		}
	}
}

func (s *scanner) skipObject(depth int) error {
	if depth > maxDepth {
		return s.fail(s.at, "nested deeper than %d", maxDepth)
	}
	s.at++
	if s.space() == '}' {
		s.at++
		return nil
	}
	for {
		if _, err := s.name(); err != nil {
			return err
		}
		if _, err := s.skip(depth); err != nil {
			return err
		}
		more, err := s.more('}')
		if err != nil || !more {
			return err
		}
	}
}

// name reads a field's name and the colon.
func (s *scanner) name() ([]byte, error) {
	if s.space() != '"' {
		return nil, s.unexpected("a field's name")
	}
	name, _, err := s.text()
	if err != nil {
		return nil, err
	}
	if s.space() != ':' {
		return nil, s.unexpected("a colon")
	}
	s.at++
	return name, nil
}

// more reads what follows an element: a comma, then it returns true, or the closing byte.
func (s *scanner) more(closing byte) (bool, error) {
	switch s.space() {
	case ',':
		s.at++
		return true, nil
	case closing:
		s.at++
		return false, nil
	}
	return false, s.unexpected("a comma or " + string(rune(closing)))
}
