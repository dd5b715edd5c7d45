// Pointers of kernels that run on the processor: plain ones, or, with US_RACES, classes that tell the runtime of every access to an element.
#pragma once

#define US_MEMBER inline __attribute__((always_inline))

template <class P> struct us_pointee {};
template <class T> struct us_pointee<T *> { typedef T type; };
template <class T> struct us_pointee<volatile T *> { typedef T type; };
template <class T> US_INLINE T *us_raw(T *pointer) { return pointer; }

#ifndef US_RACES

#define US_POINTER(T) T *
#define US_SHARED(T) T *
#define US_SHARED_ARRAY(T, NAME, N) __shared__ T NAME[N]
template <class T> US_INLINE T *us_atomic_address(T *pointer) { return pointer; }
template <class T> US_INLINE T *us_atomic_address(volatile T *pointer) { return (T *)pointer; }

#else

template <class T, int SPACE> struct us_watched;

// An element. Its value is read when it is converted, not when it is named.
template <class T, int SPACE> struct us_element {
  typedef typename us_same<T>::type value;
  T *at;

  US_MEMBER explicit us_element(T *pointer) : at(pointer) {}
  US_MEMBER us_element(const us_element &) = default;
  US_MEMBER operator value() const {
    us_at->touch(at, sizeof(T), US_READ | SPACE | alignof(T) << US_ALIGNMENT);
    return *at;
  }
  US_MEMBER value operator=(value next) const {
    us_at->touch(at, sizeof(T), US_WRITE | SPACE | alignof(T) << US_ALIGNMENT);
    return *at = next;
  }
  US_MEMBER value operator=(const us_element &other) const { return *this = (value)other; }
#define US_UPDATE(OP) \
  template <class V> US_MEMBER value operator OP##=(const V &v) const { return *this = (value)((value) * this OP v); }
  US_UPDATE(+)
  US_UPDATE(-)
  US_UPDATE(*)
  US_UPDATE(/)
  US_UPDATE(%)
  US_UPDATE(&)
  US_UPDATE(|)
  US_UPDATE(^)
  US_UPDATE(<<)
  US_UPDATE(>>)
#undef US_UPDATE
  US_MEMBER value operator++() const { return *this += 1; }
  US_MEMBER value operator--() const { return *this -= 1; }
  US_MEMBER value operator++(int) const {
    value old = *this;
    *this = (value)(old + 1);
    return old;
  }
  US_MEMBER value operator--(int) const {
    value old = *this;
    *this = (value)(old - 1);
    return old;
  }
  US_MEMBER us_watched<T, SPACE> operator&() const { return us_watched<T, SPACE>(at); }
};

template <class T, int SPACE> struct us_watched {
  T *at;

  us_watched() = default;
  US_MEMBER us_watched(T *pointer) : at(pointer) {}
  template <class U> US_MEMBER explicit us_watched(U *pointer) : at((T *)pointer) {}
  template <class U> US_MEMBER explicit us_watched(us_watched<U, SPACE> other) : at((T *)other.at) {}
  US_MEMBER operator us_watched<const T, SPACE>() const { return us_watched<const T, SPACE>((const T *)at); }
  US_MEMBER explicit operator bool() const { return at != nullptr; }
  US_MEMBER T *get() const { return at; }
  US_MEMBER us_element<T, SPACE> operator[](int64_t i) const { return us_element<T, SPACE>(at + i); }
  US_MEMBER us_element<T, SPACE> operator*() const { return us_element<T, SPACE>(at); }
  US_MEMBER us_watched operator+(int64_t n) const { return us_watched(at + n); }
  US_MEMBER us_watched operator-(int64_t n) const { return us_watched(at - n); }
  US_MEMBER int64_t operator-(us_watched other) const { return at - other.at; }
  US_MEMBER us_watched &operator+=(int64_t n) { return at += n, *this; }
  US_MEMBER us_watched &operator-=(int64_t n) { return at -= n, *this; }
  US_MEMBER us_watched &operator++() { return ++at, *this; }
  US_MEMBER us_watched &operator--() { return --at, *this; }
  US_MEMBER us_watched operator++(int) { return us_watched(at++); }
  US_MEMBER us_watched operator--(int) { return us_watched(at--); }
  US_MEMBER bool operator==(us_watched other) const { return at == other.at; }
  US_MEMBER bool operator!=(us_watched other) const { return at != other.at; }
  US_MEMBER bool operator<(us_watched other) const { return at < other.at; }
};

#define US_POINTER(T) us_watched<T, 0>
#define US_SHARED(T) us_watched<T, US_IN_SHARED>
#define US_SHARED_ARRAY(T, NAME, N) \
  __shared__ T NAME##_storage[N]; \
  const us_watched<T, US_IN_SHARED> NAME(NAME##_storage)

template <class T, int SPACE> struct us_pointee<us_watched<T, SPACE>> { typedef T type; };
template <class T, int SPACE> US_INLINE T *us_raw(us_watched<T, SPACE> pointer) { return pointer.at; }
template <class T> US_INLINE T *us_atomic_address(T *pointer) {
  us_at->touch(pointer, sizeof(T), US_ATOMIC | alignof(T) << US_ALIGNMENT);
  return pointer;
}
template <class T> US_INLINE T *us_atomic_address(volatile T *pointer) { return us_atomic_address((T *)pointer); }
template <class T, int SPACE> US_INLINE T *us_atomic_address(us_watched<T, SPACE> pointer) {
  us_at->touch(pointer.at, sizeof(T), US_ATOMIC | SPACE | alignof(T) << US_ALIGNMENT);
  return pointer.at;
}
template <class V, class T, int SPACE> US_INLINE us_watched<V, SPACE> us_as(us_watched<T, SPACE> pointer) {
  return us_watched<V, SPACE>((V *)pointer.at);
}
template <class T, int SPACE> US_INLINE typename us_same<T>::type __ldg(us_watched<T, SPACE> pointer) {
  us_at->touch(pointer.at, sizeof(T), US_CACHED_READ | SPACE | alignof(T) << US_ALIGNMENT);
  return *pointer.at;
}

#endif

#define US_PLAIN_POINTER(T) US_POINTER(T)

// The elements of an array in groups: us_as<float4>(pointer) (reinterpret_cast on a GPU).
template <class V, class T> US_INLINE V *us_as(T *pointer) { return reinterpret_cast<V *>(pointer); }

// Loads and stores that say which caches they use; only the first may miss what was written while the kernel runs.
template <class T> US_INLINE T __ldg(const T *pointer) { return *pointer; }
#define US_LOAD(NAME) \
  template <class P, class T = typename us_same<typename us_pointee<P>::type>::type> US_INLINE T NAME(P pointer) { return *pointer; }
US_LOAD(__ldca)
US_LOAD(__ldcg)
US_LOAD(__ldcs)
US_LOAD(__ldlu)
US_LOAD(__ldcv)
#define US_STORE(NAME) \
  template <class P, class T = typename us_pointee<P>::type> US_INLINE void NAME(P pointer, typename us_same<T>::type value) { *pointer = value; }
US_STORE(__stwb)
US_STORE(__stcg)
US_STORE(__stcs)
US_STORE(__stwt)
