package client

import (
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/quipudb/quipu/event"
)

const hexDigits = "0123456789abcdef"

// AppendEvent appends an event as the JSON object that POST /v1/events takes. What an event does not have is left out: a zero
// time, an empty id, a weight of 0 or 1.
func AppendEvent(dst []byte, e *event.Event) []byte {
	dst = append(dst, `{"type":`...)
	dst = AppendString(dst, e.Type)
	dst = append(dst, `,"key":`...)
	dst = AppendString(dst, e.Key)
	if e.ID != "" {
		dst = append(dst, `,"id":`...)
		dst = AppendString(dst, e.ID)
	}
	if e.TimeMs != 0 {
		dst = append(dst, `,"time":`...)
		dst = strconv.AppendInt(dst, e.TimeMs, 10)
	}
	if e.HasValue {
		dst = append(dst, `,"value":`...)
		dst = strconv.AppendInt(dst, e.Value, 10)
	}
	if e.Weight != 0 && e.Weight != 1 {
		dst = append(dst, `,"weight":`...)
		dst = strconv.AppendInt(dst, e.Weight, 10)
	}
	return append(dst, '}')
}

// AppendString appends text as a JSON string. Bytes that are no UTF-8 become U+FFFD.
func AppendString(dst []byte, text string) []byte {
	dst = append(dst, '"')
	plain := 0 // text[plain:i] needs no escape
	for i := 0; i < len(text); {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		width := 1
		if c >= utf8.RuneSelf {
			var r rune
			if r, width = utf8.DecodeRuneInString(text[i:]); r != utf8.RuneError || width > 1 {
				i += width
				continue
			}
		}
		dst = append(dst, text[plain:i]...)
		dst = appendEscape(dst, c)
		i += width
		plain = i
	}
	dst = append(dst, text[plain:]...)
	return append(dst, '"')
}

func appendEscape(dst []byte, c byte) []byte {
	switch {
	case c >= utf8.RuneSelf:
		return append(dst, `\ufffd`...)
	case c == '"' || c == '\\':
		return append(dst, '\\', c)
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// Check returns an error that wraps ErrInvalid and names the field if no cluster could ever accept the event. Whether its type is
// registered and its time near enough is for the cluster to say.
func Check(e *event.Event) error {
	switch {
	case !event.ValidTypeName(e.Type):
		return fmt.Errorf("%w: type %q is not the name of an event type", ErrInvalid, clip(e.Type))
	case e.Key == "" || len(e.Key) > event.MaxKeyBytes || !utf8.ValidString(e.Key):
		return fmt.Errorf("%w: key %q must be 1 to %d bytes of UTF-8", ErrInvalid, clip(e.Key), event.MaxKeyBytes)
	case len(e.ID) > event.MaxIDBytes || !utf8.ValidString(e.ID):
		return fmt.Errorf("%w: id %q must be at most %d bytes of UTF-8", ErrInvalid, clip(e.ID), event.MaxIDBytes)
	case e.TimeMs < event.MinTimeMs || e.TimeMs >= event.MaxTimeMs:
		return fmt.Errorf("%w: time %d is not between 1970 and 2100 in milliseconds", ErrInvalid, e.TimeMs)
	case e.HasValue && (e.Value > event.MaxValue || e.Value < -event.MaxValue):
		return fmt.Errorf("%w: value %d is beyond ±%d", ErrInvalid, e.Value, int64(event.MaxValue))
	case e.Weight > event.MaxWeight || e.Weight < -event.MaxWeight:
		return fmt.Errorf("%w: weight %d is beyond ±%d", ErrInvalid, e.Weight, event.MaxWeight)
	}
	return nil
}

func clip(text string) string { return text[:min(len(text), 64)] }
