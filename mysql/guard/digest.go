package guard

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/zeebo/xxh3"
)

// Bounds of what is read of a statement for its digest, and of the digest's text.
const (
	maxNormalised = 4 << 10
	maxDigestText = 1 << 10
)

// Normalise returns a statement's shape: literals become ?, lists of them ?…, rows of the same shape one row; comments are left out and white space
// is one space. Of a long statement only the beginning counts.
func Normalise(text string) string {
	n := normaliser{text: text[:min(len(text), maxNormalised)]}
	n.out = make([]byte, 0, min(len(n.text), maxDigestText)+16)
	for n.at < len(n.text) && len(n.out) < maxDigestText {
		n.step()
	}
	return strings.TrimSpace(string(n.out))
}

type normaliser struct {
	text   string
	at     int
	out    []byte
	groups []int // where the open parentheses are in out
	last   [2]int
}

func (n *normaliser) step() {
	c := n.text[n.at]
	switch {
	case isDigit(c):
		n.word()
		n.literal()
	case isWord(c):
		from := n.at
		n.word()
		n.out = append(n.out, n.text[from:n.at]...)
	case c == ' ' || c == '\t' || c == '\n' || c == '\r':
		n.at++
		n.space()
	case c == '\'' || c == '"':
		n.quoted(c)
		n.literal()
	case c == '`':
		from := n.at
		n.quoted(c)
		n.out = append(n.out, n.text[from:n.at]...)
	case c == '#' || c == '-' && strings.HasPrefix(n.text[n.at:], "-- "):
		n.skipTo("\n")
	case c == '/' && strings.HasPrefix(n.text[n.at:], "/*") && !strings.HasPrefix(n.text[n.at:], "/*+"):
		n.skipTo("*/")
	default:
		n.at++
		n.symbol(c)
	}
}

func (n *normaliser) space() {
	if len(n.out) > 0 && n.out[len(n.out)-1] != ' ' {
		n.out = append(n.out, ' ')
	}
}

func (n *normaliser) skipTo(end string) {
	rest := strings.Index(n.text[n.at+1:], end)
	if rest < 0 {
		n.at = len(n.text)
		return
	}
	n.at += 1 + rest + len(end)
	n.space()
}

// quoted passes a quoted text. A quote in it is doubled or has a backslash before it.
func (n *normaliser) quoted(quote byte) {
	for n.at++; n.at < len(n.text); n.at++ {
		switch {
		case n.text[n.at] == '\\' && quote != '`':
			n.at++
		case n.text[n.at] == quote && n.at+1 < len(n.text) && n.text[n.at+1] == quote:
			n.at++
		case n.text[n.at] == quote:
			n.at++
			return
		}
	}
	n.at = len(n.text)
}

func (n *normaliser) word() {
	at := n.at
	for at < len(n.text) && (wordBytes[n.text[at]] || n.text[at] == '.' && isDigit(n.text[at-1])) {
		at++
	}
	n.at = at
}

// literal adds a placeholder, or makes the one before it a list.
func (n *normaliser) literal() {
	if before, listed := n.beforeComma(); listed {
		switch tail := n.out[:before]; {
		case bytes.HasSuffix(tail, []byte("?…")):
			n.out = tail
			return
		case tail[before-1] == '?':
			n.out = append(tail, "…"...)
			return
		}
	}
	n.out = append(n.out, '?')
}

// beforeComma returns where what stands before a comma at the end ends, if there is one, and something before it.
func (n *normaliser) beforeComma() (end int, ok bool) {
	end = n.trimmed(len(n.out))
	if end == 0 || n.out[end-1] != ',' {
		return 0, false
	}
	end = n.trimmed(end - 1)
	return end, end > 0
}

func (n *normaliser) trimmed(end int) int {
	for end > 0 && n.out[end-1] == ' ' {
		end--
	}
	return end
}

// symbol adds a sign. A group in parentheses that repeats the one before it is dropped.
func (n *normaliser) symbol(c byte) {
	n.out = append(n.out, c)
	switch {
	case c == '(':
		n.groups = append(n.groups, len(n.out)-1)
	case c == ')' && len(n.groups) > 0:
		from := n.groups[len(n.groups)-1]
		n.groups = n.groups[:len(n.groups)-1]
		last := n.last
		n.last = [2]int{from, len(n.out)}
		if last[1] > last[0] && last[1] < from && n.separates(last[1], from) && bytes.Equal(n.out[last[0]:last[1]], n.out[from:]) {
			n.out, n.last = n.out[:last[1]], last
		}
	}
}

// separates tells whether there is nothing but a comma in a part of what was written.
func (n *normaliser) separates(from, to int) bool {
	commas := 0
	for _, c := range n.out[from:to] {
		switch c {
		case ',':
			commas++
		case ' ':
		default:
			return false
		}
	}
	return commas == 1
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isWord(c byte) bool { return wordBytes[c] }

// wordBytes tells which bytes are of words.
var wordBytes = func() (is [256]bool) {
	for i := range is {
		c := byte(i)
		is[i] = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c) || c == '_' || c == '$' || c >= 0x80
	}
	return is
}()

func digestID(class Class, normalised string) string {
	return strconv.FormatUint(digestHash(class, normalised), 16)
}

func digestHash(class Class, normalised string) uint64 {
	return xxh3.HashString(string(class) + "\x00" + normalised)
}
