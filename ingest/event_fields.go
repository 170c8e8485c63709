package ingest

import (
	"fmt"

	"github.com/quipudb/quipu/event"
)

// reject notes what is wrong with the current event, unless something was before.
func (f *fields) reject(code, format string, args ...any) {
	if f.bad.code == "" {
		f.bad = rejection{code: code, message: fmt.Sprintf(format, args...)}
	}
}

func (p *parser) field(name []byte) error {
	f := &p.current
	switch string(name) {
	case "type":
		return p.textField("type", seenType, codeInvalidEvent, &f.kind)
	case "key":
		return p.textField("key", seenKey, codeInvalidKey, &f.key)
	case "id":
		return p.textField("id", seenID, codeInvalidID, &f.id)
	case "time":
		return p.timeField()
	case "value":
		return p.wholeField("value", seenValue, codeInvalidValue, event.MaxValue, &f.value)
	case "weight":
		return p.wholeField("weight", seenWeight, codeInvalidWeight, event.MaxWeight, &f.weight)
	}
	f.reject(codeInvalidEvent, "unknown field %s; known are type, key, id, time, value and weight", quoted(name))
	_, err := p.skip(0)
	return err
}

func (p *parser) once(name string, bit uint8) {
	if p.current.seen&bit != 0 {
		p.current.reject(codeInvalidEvent, "field %q is there twice", name)
	}
	p.current.seen |= bit
}

func (p *parser) wrongKind(name, want string) error {
	kind, err := p.skip(0)
	p.current.reject(codeInvalidEvent, "field %q must be %s, is %s", name, want, kind)
	return err
}

func (p *parser) textField(name string, bit uint8, code string, into *[]byte) error {
	p.once(name, bit)
	if p.space() != '"' {
		return p.wrongKind(name, "a string")
	}
	text, flaw, err := p.text()
	if err != nil {
		return err
	}
	switch {
	case flaw&loneSurrogate != 0:
		p.current.reject(code, "%s holds half of a surrogate pair", name)
	case flaw&notUTF8 != 0:
		p.current.reject(code, "%s is not valid UTF-8", name)
	}
	*into = text
	return nil
}

func (p *parser) wholeField(name string, bit uint8, code string, limit int64, into *int64) error {
	p.once(name, bit)
	if c := p.space(); c != '-' && c-'0' > 9 {
		return p.wrongKind(name, "a whole number")
	}
	n, err := p.number()
	if err != nil {
		return err
	}
	switch {
	case !n.whole:
		p.current.reject(code, "%s must be a whole number without fraction or exponent, is %s", name, shortened(n.text))
	case n.overflow || n.value > limit || n.value < -limit:
		p.current.reject(code, "%s must lie between -%d and %d, is %s", name, limit, limit, shortened(n.text))
	}
	*into = n.value
	return nil
}

func (p *parser) timeField() error {
	p.once("time", seenTime)
	switch c := p.space(); {
	case c == '"':
		text, _, err := p.text()
		if err != nil {
			return err
		}
		ms, ok := parseInstant(text)
		if !ok {
			p.current.reject(codeInvalidTime, "time must be like 2026-01-31T12:30:00Z, from 1970 to 2099, is %s", quoted(text))
		}
		p.current.time = ms
		return nil
	case c == '-' || c-'0' <= 9:
		n, err := p.number()
		if err != nil {
			return err
		}
		switch {
		case !n.whole:
			p.current.reject(codeInvalidTime, "time must be whole milliseconds without fraction or exponent, is %s", shortened(n.text))
		case n.overflow || n.value < event.MinTimeMs || n.value >= event.MaxTimeMs:
			p.current.reject(codeInvalidTime, "time must be milliseconds since 1970, before %d, is %s", int64(event.MaxTimeMs), shortened(n.text))
		}
		p.current.time = n.value
		return nil
	}
	return p.wrongKind("time", "a string or a whole number")
}

const maxQuoted = 64

// quoted shows text from a body in a message, shortened and with anything unusual escaped.
func quoted(text []byte) string {
	if len(text) > maxQuoted {
		return fmt.Sprintf("%+q…", text[:maxQuoted])
	}
	return fmt.Sprintf("%+q", text)
}

func shortened(text []byte) string {
	if len(text) > maxQuoted {
		return string(text[:maxQuoted]) + "…"
	}
	return string(text)
}
