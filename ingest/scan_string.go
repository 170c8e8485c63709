package ingest

import (
	"unicode/utf16"
	"unicode/utf8"
)

// escaped reads the rest of a string from its first backslash on, and unescapes it into the arena.
func (s *scanner) escaped(start, i int) ([]byte, flaws, error) {
	from := len(s.arena)
	var found flaws
	for {
		s.arena = append(s.arena, s.data[start:i]...)
		if i >= len(s.data) {
			return nil, 0, s.fail(len(s.data), "the body ends inside a string")
		}
		switch c := s.data[i]; {
		case c == '"':
			s.at = i + 1
			text := s.arena[from:len(s.arena):len(s.arena)]
			if !utf8.Valid(text) {
				found |= notUTF8
			}
			return text, found, nil
		case c == '\\':
			next, flaw, err := s.escape(i)
			if err != nil {
				return nil, 0, err
			}
			found |= flaw
			start = next
		case c < 0x20:
			return nil, 0, s.fail(i, "control character %#02x inside a string", c)
		default:
			start = i
			i++
			for i < len(s.data) && s.data[i] >= 0x80 {
				i++
			}
			continue
		}
		i = plain(s.data, start)
	}
}

// escape unescapes what starts with the backslash at i and returns where it ends.
func (s *scanner) escape(i int) (next int, flaw flaws, err error) {
	if i+1 >= len(s.data) {
		return 0, 0, s.fail(len(s.data), "the body ends inside a string")
	}
	switch c := s.data[i+1]; c {
	case '"', '\\', '/':
		s.arena = append(s.arena, c)
	case 'b':
		s.arena = append(s.arena, '\b')
	case 'f':
		s.arena = append(s.arena, '\f')
	case 'n':
		s.arena = append(s.arena, '\n')
	case 'r':
		s.arena = append(s.arena, '\r')
	case 't':
		s.arena = append(s.arena, '\t')
	case 'u':
		return s.unicodeEscape(i)
	default:
		return 0, 0, s.fail(i, "unknown escape \\%c", c)
	}
	return i + 2, 0, nil
}

func (s *scanner) unicodeEscape(i int) (next int, flaw flaws, err error) {
	r, err := s.hex4(i)
	if err != nil {
		return 0, 0, err
	}
	if !utf16.IsSurrogate(r) {
		s.arena = utf8.AppendRune(s.arena, r)
		return i + 6, 0, nil
	}
	if i+7 < len(s.data) && s.data[i+6] == '\\' && s.data[i+7] == 'u' {
		low, err := s.hex4(i + 6)
		if err != nil {
			return 0, 0, err
		}
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			s.arena = utf8.AppendRune(s.arena, pair)
			return i + 12, 0, nil
		}
	}
	s.arena = utf8.AppendRune(s.arena, utf8.RuneError)
	return i + 6, loneSurrogate, nil
}

// hex4 reads the digits of the \u escape at i.
func (s *scanner) hex4(i int) (rune, error) {
	var r rune
	for k := i + 2; k < i+6; k++ {
		if k >= len(s.data) {
			return 0, s.fail(len(s.data), "the body ends inside a string")
		}
		switch c := s.data[k]; {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, s.fail(k, "%q in a \\u escape, which takes four hexadecimal digits", c)
		}
	}
	return r, nil
}
