package ingest

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/quipudb/quipu/eventlog"
	"github.com/quipudb/quipu/wire"
)

// conclude turns the fates of a request's parts into its answer: how many events were accepted, or a problem if none was and all may be
// tried again.
func (r *request) conclude() (accepted int, err error) {
	failed := 0
	full := false
	for _, p := range r.parts {
		if p.err == nil {
			accepted += int(p.to - p.from)
			continue
		}
		failed++
		full = full || errors.Is(p.err, eventlog.ErrFull)
		code, message := codeUnavailable, "the event could not be made durable; if it has an id, sending it again is safe"
		if errors.Is(p.err, eventlog.ErrFull) {
			code, message = codeLogFull, "the log is full"
		}
		for _, i := range r.order[p.from:p.to] {
			r.parser.rejected = append(r.parser.rejected, rejection{
				index: int(r.parser.entries[i].index), code: code, message: message, retryable: true,
			})
		}
	}
	switch {
	case failed == 0:
		return accepted, nil
	case accepted == 0 && full:
		return 0, wire.NewProblem(wire.CodeLogFull, "the log is full").WithRetryAfter(10 * time.Second)
	case accepted == 0:
		return 0, wire.NewProblem(wire.CodeUnavailable, "the events could not be made durable; those with an id can safely be sent again").
			WithRetryAfter(time.Second).WithCause(r.parts[0].err)
	}
	slices.SortFunc(r.parser.rejected, func(a, b rejection) int { return cmp.Compare(a.index, b.index) })
	return accepted, nil
}

// appendAnswer appends the body of a 202.
func appendAnswer(dst []byte, accepted int, rejected []rejection) []byte {
	dst = append(dst, `{"accepted":`...)
	dst = strconv.AppendInt(dst, int64(accepted), 10)
	dst = append(dst, `,"rejected":[`...)
	for i, r := range rejected {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"index":`...)
		dst = strconv.AppendInt(dst, int64(r.index), 10)
		dst = append(dst, `,"code":"`...)
		dst = append(dst, r.code...)
		dst = append(dst, `","message":`...)
		dst = appendJSONText(dst, r.message)
		dst = append(dst, `,"retryable":`...)
		dst = strconv.AppendBool(dst, r.retryable)
		dst = append(dst, '}')
	}
	return append(dst, "]}\n"...)
}

// appendJSONText quotes a message. Messages hold nothing unusual but quotes and backslashes; anything else goes the long way.
func appendJSONText(dst []byte, text string) []byte {
	start := len(dst)
	dst = append(dst, '"')
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20 || c >= 0x80:
			encoded, _ := json.Marshal(text) // a string always encodes
			return append(dst[:start], encoded...)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
