package cold

import "unsafe"

// segmentName names what an object holds of one key.
type segmentName struct{ object, kind, key string }

// segment is all rows of its name, ascending by start. It never changes.
type segment struct{ rows []Row }

func sizeOf(name segmentName, s *segment) int64 {
	return int64(len(name.object)+len(name.kind)+len(name.key)) + int64(len(s.rows))*int64(unsafe.Sizeof(Row{}))
}
