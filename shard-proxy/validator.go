package shardproxy

import (
	"strconv"
	"strings"
)

// validator tells at which place of a partition's history an answer was read or found to hold: "s1/2/7/4711" is shard, term, partition, offset.
type validator struct {
	shard        string
	term, offset uint64
	partition    int
}

func (v validator) appendTo(dst []byte) []byte {
	dst = append(append(dst, v.shard...), '/')
	dst = append(strconv.AppendUint(dst, v.term, 10), '/')
	dst = append(strconv.AppendInt(dst, int64(v.partition), 10), '/')
	return strconv.AppendUint(dst, v.offset, 10)
}

// parseValidator returns false for what no shard proxy made.
func parseValidator(text string) (v validator, ok bool) {
	shard, rest, ok := strings.Cut(text, "/")
	term, rest, ok2 := strings.Cut(rest, "/")
	partition, offset, ok3 := strings.Cut(rest, "/")
	if !ok || !ok2 || !ok3 {
		return v, false
	}
	v.shard = shard
	var errTerm, errPartition, errOffset error
	v.term, errTerm = strconv.ParseUint(term, 10, 64)
	v.partition, errPartition = strconv.Atoi(partition)
	v.offset, errOffset = strconv.ParseUint(offset, 10, 64)
	return v, errTerm == nil && errPartition == nil && errOffset == nil
}
