package httpserver

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/quipudb/quipu/wire"
)

// maxRequestID bounds the ids that callers may choose.
const maxRequestID = 64

// requestIDs names requests: what the caller chose if it is harmless, else a random prefix of the process and a number.
type requestIDs struct {
	prefix string
	last   atomic.Uint64
}

func newRequestIDs() *requestIDs {
	var random [6]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	return &requestIDs{prefix: hex.EncodeToString(random[:]) + "-"}
}

func (g *requestIDs) of(req *http.Request) string {
	if id := req.Header.Get(wire.HeaderRequestID); harmless(id) {
		return id
	}
	var stack [40]byte
	return string(strconv.AppendUint(append(stack[:0], g.prefix...), g.last.Add(1), 10))
}

// harmless tells whether an id can go into headers and logs as it is.
func harmless(id string) bool {
	if id == "" || len(id) > maxRequestID {
		return false
	}
	for _, b := range []byte(id) {
		if b <= ' ' || b > '~' || b == '"' || b == '\\' {
			return false
		}
	}
	return true
}
