$data0 << END
0.000 -0.360 0.000 0.000
0.000 0.640 0.000 0.000
1.690 1.640 0.404 2.946
4.974 2.640 3.403 6.690
3.473 3.640 1.710 5.236
2.314 4.640 0.844 3.850
2.230 5.640 0.730 3.928
END
$data1 << END
0.320 -0.240 -5.676 6.447
31.868 0.760 18.090 48.746
47.083 1.760 31.247 64.719
32.971 2.760 20.458 47.193
31.733 3.760 20.376 43.947
0.000 6.760 0.000 0.000
END
$data2 << END
0.000 -0.120 0.000 0.000
57.770 0.880 33.818 87.723
106.763 1.880 76.510 141.514
115.168 2.880 86.891 152.178
120.618 3.880 92.756 152.548
END
$data3 << END
418.549 0.000 300.938 604.098
88.370 1.000 74.131 105.836
89.451 2.000 76.139 105.024
96.520 3.000 83.398 112.184
87.959 4.000 75.433 102.968
END
$data4 << END
76.711 0.120 62.035 93.083
59.709 1.120 49.411 71.399
75.703 2.120 65.006 87.906
89.420 3.120 78.163 101.008
92.954 4.120 81.625 105.341
END
$data5 << END
0.000 0.240 0.000 0.000
0.000 1.240 0.000 0.000
0.000 2.240 0.000 0.000
4.949 3.240 3.241 6.658
10.888 4.240 5.331 16.444
END
$data6 << END
0.000 0.360 0.000 0.000
0.000 1.360 0.000 0.000
0.000 2.360 0.000 0.000
7.586 3.360 5.222 9.849
9.569 4.360 6.911 12.245
END
set terminal svg noenhanced size 820,560 background 'white' font 'sans,13'
set output 'gains.svg'
set ytics ('popularity' 0, 'item-kNN' 1, 'EASE' 2, 'BPR-MF' 3, 'LightGCN' 4, 'SimGCL' 5, 'XSimGCL' 6, 'SASRec-CE' 7)
set yrange [7.6:-0.6]
set xlabel 'gain of the augmented over the original arm in ndcg@20 on test, per cent, with its 95 % interval'
set key outside top center horizontal
set offsets graph 0.05, graph 0.05, 0, 0
set grid x
set arrow from first 0, graph 0 to first 0, graph 1 nohead lc rgb '#444444'
plot $data0 using 1:2:3:4 with xerrorbars pt 7 ps 0.6 lw 1.5 title 'ml-100k', $data1 using 1:2:3:4 with xerrorbars pt 7 ps 0.6 lw 1.5 title 'ml-100k-sequences', $data2 using 1:2:3:4 with xerrorbars pt 7 ps 0.6 lw 1.5 title 'ml-1m', $data3 using 1:2:3:4 with xerrorbars pt 7 ps 0.6 lw 1.5 title 'amazon-beauty', $data4 using 1:2:3:4 with xerrorbars pt 7 ps 0.6 lw 1.5 title 'amazon-video-games', $data5 using 1:2:3:4 with xerrorbars pt 7 ps 0.6 lw 1.5 title 'gowalla', $data6 using 1:2:3:4 with xerrorbars pt 7 ps 0.6 lw 1.5 title 'gowalla-random'
