// A recursive filter along the rows, both ways, then along the columns. Two arrays are too large for a stack.
#include <math.h>

static double ahead[W][H], back[W][H];

static void deriche(int w, int h, const double image[restrict W][H], double alpha, double smooth[restrict W][H]) {
  double k, a1, a2, a3, a4, a5, a6, a7, a8, b1, b2, c1, c2;
  double xm1, tm1, ym1, ym2, xp1, xp2, tp1, tp2, yp1, yp2;
#pragma scop
  k = (1.0 - exp(-alpha)) * (1.0 - exp(-alpha)) / (1.0 + 2.0 * alpha * exp(-alpha) - exp(2.0 * -alpha));
  a1 = a5 = k;
  a2 = a6 = k * exp(-alpha) * (alpha - 1.0);
  a3 = a7 = k * exp(-alpha) * (alpha + 1.0);
  a4 = a8 = -k * exp(-2.0 * alpha);
  b1 = 2.0 * exp(-alpha);
  b2 = -exp(-2.0 * alpha);
  c1 = c2 = 1.0;
  for (int i = 0; i < w; i++) {
    ym1 = 0.0;
    ym2 = 0.0;
    xm1 = 0.0;
    for (int j = 0; j < h; j++) {
      ahead[i][j] = a1 * image[i][j] + a2 * xm1 + b1 * ym1 + b2 * ym2;
      xm1 = image[i][j];
      ym2 = ym1;
      ym1 = ahead[i][j];
    }
  }
  for (int i = 0; i < w; i++) {
    yp1 = 0.0;
    yp2 = 0.0;
    xp1 = 0.0;
    xp2 = 0.0;
    for (int j = h - 1; j >= 0; j--) {
      back[i][j] = a3 * xp1 + a4 * xp2 + b1 * yp1 + b2 * yp2;
      xp2 = xp1;
      xp1 = image[i][j];
      yp2 = yp1;
      yp1 = back[i][j];
    }
  }
  for (int i = 0; i < w; i++)
    for (int j = 0; j < h; j++)
      smooth[i][j] = c1 * (ahead[i][j] + back[i][j]);
  for (int j = 0; j < h; j++) {
    tm1 = 0.0;
    ym1 = 0.0;
    ym2 = 0.0;
    for (int i = 0; i < w; i++) {
      ahead[i][j] = a5 * smooth[i][j] + a6 * tm1 + b1 * ym1 + b2 * ym2;
      tm1 = smooth[i][j];
      ym2 = ym1;
      ym1 = ahead[i][j];
    }
  }
  for (int j = 0; j < h; j++) {
    tp1 = 0.0;
    tp2 = 0.0;
    yp1 = 0.0;
    yp2 = 0.0;
    for (int i = w - 1; i >= 0; i--) {
      back[i][j] = a7 * tp1 + a8 * tp2 + b1 * yp1 + b2 * yp2;
      tp2 = tp1;
      tp1 = smooth[i][j];
      yp2 = yp1;
      yp1 = back[i][j];
    }
  }
  for (int i = 0; i < w; i++)
    for (int j = 0; j < h; j++)
      smooth[i][j] = c2 * (ahead[i][j] + back[i][j]);
#pragma endscop
}
