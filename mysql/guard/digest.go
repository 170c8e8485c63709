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
	case c == ' ' || c == '\t' || c == '\n' || c == '\r':
		n.at++
		n.space()
	case c == '#' || strings.HasPrefix(n.text[n.at:], "-- "):
		n.skipTo("\n")
	case strings.HasPrefix(n.text[n.at:], "/*") && !strings.HasPrefix(n.text[n.at:], "/*+"):
		n.skipTo("*/")
	case c == '\'' || c == '"':
		n.quoted(c)
		n.literal()
	case c == '`':
		from := n.at
		n.quoted(c)
		n.out = append(n.out, n.text[from:n.at]...)
	case isDigit(c):
		n.word()
		n.literal()
	case isWord(c):
		from := n.at
		n.word()
		n.out = append(n.out, n.text[from:n.at]...)
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
	for n.at < len(n.text) && (isWord(n.text[n.at]) || n.text[n.at] == '.' && isDigit(n.text[n.at-1])) {
		n.at++
	}
}

// literal adds a placeholder, or makes the one before it a list.
func (n *normaliser) literal() {
	before, comma := bytes.CutSuffix(bytes.TrimRight(n.out, " "), []byte(","))
	before = bytes.TrimRight(before, " ")
	switch {
	case comma && bytes.HasSuffix(before, []byte("?…")):
		n.out = before
	case comma && bytes.HasSuffix(before, []byte("?")):
		n.out = append(before, "…"...)
	default:
		n.out = append(n.out, '?')
	}
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
		to, last := len(n.out), n.last
		n.last = [2]int{from, to}
		if last[1] > last[0] && last[1] < from && strings.TrimSpace(string(n.out[last[1]:from])) == "," && string(n.out[last[0]:last[1]]) == string(n.out[from:to]) {
			n.out, n.last = n.out[:last[1]], last
		}
	}
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c) || c == '_' || c == '$' || c >= 0x80
}

func digestID(class Class, normalised string) string {
	return strconv.FormatUint(digestHash(class, normalised), 16)
}

func digestHash(class Class, normalised string) uint64 {
	return xxh3.HashString(string(class) + "\x00" + normalised)
}
